"""The command study: claims about scaling, measured and judged."""

import contextlib
import dataclasses
import functools
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from scalesweep.cli.command import TRUST, Command, Given, Option, one_of, whole
from scalesweep.cli.tables import price_lines, wrapped
from scalesweep.errors import EXIT_INCOMPLETE, EXIT_OK, ScaleSweepError, SpecError
from scalesweep.run.launch.pricing import Prices, price_of
from scalesweep.settings.base import parse
from scalesweep.settings.compose import is_setting, study_names, study_values
from scalesweep.settings.own import is_own, own_dirs
from scalesweep.settings.study import StudySpec
from scalesweep.settings.trust import trust
from scalesweep.studies.base import Arms
from scalesweep.studies.load import Study, load_study
from scalesweep.studies.measure import Asked, Form, ask, design, may_change_cells, planned_points
from scalesweep.studies.result import Result
from scalesweep.studies.simulate import operating, operating_lines
from scalesweep.studies.study import keep_operating, lacking_plan, read_verdict, result_dir, run_studies, store_of
from scalesweep.studies.words import Listed, list_lines, scorecard_lines, study_lines
from scalesweep.units import format_duration, plural

_ALL = "all"
_TRUST = dataclasses.replace(TRUST, about="Module of your own that judges, or that a model or an optimizer is in.")
FORM = Option[Form]("form", one_of("quick", "full"), "quick", "Minutes on two cores, or hours on a GPU.", "quick|full")
SIMULATE = Option[int]("simulate", whole, 0, "Tables of known effect to try the rule on; trains nothing.", "NUMBER")
DIR = Option[str]("dir", str, "", "Where cells and verdicts are kept (default runs/studies, or runs/studies_full).", "PLACE")


def study(given: Given) -> int:
    """List the studies, or plan, measure, judge, simulate some of them."""
    trust(given[_TRUST])
    words = [word for word in given.words if is_setting(word) and not is_own(word)]
    named = [word for word in given.words if not is_setting(word)]
    own, form = own_dirs(given.words), given[FORM]
    directory = Path(given[DIR] or ("runs/studies" if form == "quick" else "runs/studies_full")).expanduser()
    if not named and (words or given[SIMULATE]):
        raise SpecError(f"{' '.join(words) or 'simulate'} needs the name of a study, or all; scalesweep study lists them.")
    if not named:
        return _list([f"--config-dir={path}" for path in own], form, directory)
    names = study_names(own) if named[0] == _ALL else [named[0]]
    studies = [load_study(name, own) for name in names]
    rest = named[1:]
    if rest and rest != ["plan"]:
        return _judge_table(studies, rest, given)
    paths = [f"--config-dir={path}" for path in own]
    if any(map(may_change_cells, words)) and not given[DIR]:
        raise SpecError(
            f"{' '.join(words)} may change what is measured: name a directory of its own with dir=..., so that no verdict in "
            f"{directory} is replaced."
        )
    said = functools.cache(_say)  # studies share corpora, of which each line is said once
    asked = [ask(one, form, [*paths, *words], directory, said) for one in studies]
    if given[SIMULATE] and rest:
        raise SpecError(f"simulate={given[SIMULATE]} trains nothing that a plan could price; leave out plan.")
    if rest:
        return _plan(asked, directory)
    if given[SIMULATE]:
        return _simulate(asked, given[SIMULATE], directory)
    from scalesweep.studies.page import write_scorecard

    results = run_studies(asked, directory, _say)
    page = directory / "scorecard.html" if named[0] == _ALL else result_dir(directory, form, names[0]) / "index.html"
    write_scorecard(results, page, _again(given))
    _print(["", *(scorecard_lines(results) if named[0] == _ALL else study_lines(results[0]))])
    _say(f"\nPage: {page}")
    return EXIT_INCOMPLETE if any(result.origin["unmeasured"] for result in results) else EXIT_OK


def _again(given: Given) -> str:
    """The whole command."""
    options = [f"form={given[FORM]}"] * (given[FORM] == "full") + [f"dir={given[DIR]}"] * bool(given[DIR])
    return shlex.join(["scalesweep", "study", *given.words, *options, *(f"trust={name}" for name in given[_TRUST])])


def _list(paths: Sequence[str], form: Form, directory: Path) -> int:
    """Every study with what it says, what it would still take here, and its last verdict."""
    own, listed = own_dirs(paths), []
    for name in study_names(own):
        spec = parse(StudySpec, study_values(name, own), prefix=f"study/{name}: ")
        verdict, price = read_verdict(directory, form, name), ""
        with contextlib.suppress(ScaleSweepError):  # such as a judge that was not trusted: it is listed all the same
            price = _price(ask(load_study(name, own), form, paths, directory, lambda _: None), directory)
        listed.append(Listed(name, spec.statement, spec.counter, price, str(verdict["verdict"]) if verdict else ""))
    _print(list_lines(listed))
    return EXIT_OK


def _price(asked: Asked, directory: Path) -> str:
    """What of a study is still to be measured, in words."""
    number, plan = plural(len(asked.cells()), "cell"), lacking_plan([asked], store_of(directory))
    if asked.waiting:
        number += f", and of {plural(len(asked.waiting), 'arm')} whose text is still to be written,"
    elif not plan.cells:
        return f"nothing more: all {number} are measured"
    price = price_of(plan, Prices(asked.launched, asked.device))
    left = f"{len(plan.cells)} of {number} to measure"
    if price.wall_seconds is None:
        return f"{left}; the time needs the number of workers, which the Ray cluster has not been asked"
    about = f"{'estimated, ' if price.is_estimated else ''}about {format_duration(price.wall_seconds)}"
    return f"{left}: {about} with {price.workers} workers, {price.cost.bill}"


def _plan(asked: Sequence[Asked], directory: Path) -> int:
    """The price of what has no record."""
    for one in asked:
        cells = {arm: len(plan.cells) for arm, plan in one.plans.items()}
        arms = ", ".join(f"{arm} {number}" for arm, number in cells.items())
        _say(wrapped(f"{one.study.name}: {plural(len(one.cells()), 'cell')} ({arms}). {one.study.spec.statement}"))
        if one.waiting:
            later = ", ".join(one.waiting)
            _say(wrapped(f"Planned, and priced, when the cells that write their text are measured: arms {later}."))
    store = store_of(directory)
    plan = lacking_plan(asked, store)
    if not plan.cells:
        _say(f"All of them have their records in {directory}: nothing would be trained.")
        return EXIT_OK
    _say(f"{plural(len(plan.cells), 'cell')} without a record in {directory}, each trained once:")
    prices = Prices(asked[0].launched, asked[0].device)
    price = price_of(plan, prices)
    for line in price_lines(plan, price):
        _say(wrapped(line))
    if price.is_estimated:
        _say(wrapped(prices.describe(plan)))
    return EXIT_OK


def _simulate(asked: Sequence[Asked], tables: int, directory: Path) -> int:
    """Operating characteristics of every rule on its own grid, kept for the next verdict."""
    for one in asked:
        arms: Arms = {arm: planned_points(plan, one.launched.count) for arm, plan in one.plans.items()}
        if one.waiting:
            arms = design(one.study, one.form)
        rows = operating(one.study, arms, tables)
        _print([*operating_lines(rows, one.study.name), f"Kept in {keep_operating(one, rows, directory)}."])
    return EXIT_OK


def _judge_table(studies: Sequence[Study], words: Sequence[str], given: Given) -> int:
    """Judge a table of the user's own; its page goes to dir=, or where the command is given."""
    from scalesweep.points.reading import read_points
    from scalesweep.studies.page import write_scorecard

    if len(words) > 1 or len(studies) > 1 or not os.path.exists(words[0]):
        raise SpecError(
            f"study {' '.join(words)}: after its name comes plan, or one table of points that is there, such as points.csv."
        )
    idle = [word for word in given.words if is_setting(word) and not is_own(word)]
    idle += ["form=full"] * (given[FORM] == "full") + [f"simulate={given[SIMULATE]}"] * bool(given[SIMULATE])
    if idle:
        raise SpecError(f"{idle[0]} has no effect on a table of points, which is judged as it is; leave it out.")
    result: Result = studies[0].judge(read_points(words[0]))
    page = Path(given[DIR]).expanduser() / f"{Path(words[0]).stem}-{studies[0].name}.html"
    write_scorecard([result], page, _again(given))
    _print(["", *study_lines(result)])
    _say(f"\nPage: {page}")
    return EXIT_OK


STUDY = Command(
    "study",
    about="Put claims about scaling to a verdict: list them, price, measure, judge; a second call trains nothing.",
    usage="[NAME|all] [plan|POINTS] [form=quick|full] [simulate=NUMBER] [dir=PLACE] [key=value ...] [trust=package.module]",
    run=study,
    examples=(
        "scalesweep study",
        "scalesweep study sample_efficiency",
        "scalesweep study all",
        "scalesweep study data_scarcity plan form=full",
        "scalesweep study partly_trained simulate=200",
        "scalesweep study diminishing_returns points.csv",
        "scalesweep study sample_efficiency data=enwik8 dir=runs/studies_wiki",
    ),
    groups=("data", "model", "recipe", "optim", "train", "launcher"),
    subjects=(*study_names(), _ALL),
    options=(FORM, SIMULATE, DIR, _TRUST),
    is_measuring=True,
)
COMMANDS = (STUDY,)


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _say(line: str) -> None:
    print(line, flush=True)
