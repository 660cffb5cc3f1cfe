"""The commands as a user types them: what they print, what they write, how they refuse."""

import datetime
import errno
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scalesweep import cli
from scalesweep.cli import NAMES, load_command, main
from scalesweep.cli.command import Command, Given
from scalesweep.errors import SpecError
from scalesweep.plan.grid import CorpusFacts
from scalesweep.plan.plan import make_plan
from scalesweep.run.store.measured import read_measured
from scalesweep.run.store.store import Store
from scalesweep.settings.again import overrides_of
from scalesweep.settings.compose import compose_settings, config_dir
from scalesweep.sweep.cells import read_cells
from scalesweep.sweep.context import report_context
from scalesweep.sweep.subject import read_subject
from scalesweep.version import __version__

TINY = [
    "sweep=smoke",
    "sweep.sizes=[10k,40k,100k]",
    "sweep.budgets=[4096,8192,16384]",
    "data.max_bytes=300k",
    "train.validation_tokens=8192",
    "fit.bootstrap=50",
    "launcher=inline",
]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALESWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep, made by the command."""
    directory = tmp_path_factory.mktemp("runs") / "smoke"
    assert main(["run", *TINY, f"dir={directory}"]) == 0
    return directory


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence with which the command is refused."""
    capsys.readouterr()
    assert main(list(words)) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("scalesweep: ")
    assert "Traceback" not in errors
    return errors.removeprefix("scalesweep: ").strip()


def test_run_measures_fits_and_reports(sweep: Path) -> None:
    assert len(list(sweep.glob("cells/*/record.json"))) == 9
    assert (sweep / "report.html").is_file()
    assert (sweep / "report.md").is_file()
    fit = json.loads((sweep / "fit.json").read_text())
    assert fit["points"]["used"] == 9


def test_what_the_system_refuses_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = str(tmp_path / ("x" * 300))
    for words in (["status", name], ["cancel", name], ["export", name], ["run", *TINY, f"dir={name}"]):
        assert "File name too long; choose a shorter one" in refused(capsys, *words)

    def unreadable(_: Given) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", "runs/demo/sweep.json")

    monkeypatch.setattr(cli, "load_command", lambda name: Command(name, "", "DIR", unreadable))
    assert refused(capsys, "status", "runs/demo") == (
        "runs/demo/sweep.json cannot be used: Permission denied; have its permissions changed, or choose another place, and "
        "repeat the command."
    )


def test_an_error_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Given) -> int:
        raise OSError("no file is named")

    monkeypatch.setattr(cli, "load_command", lambda name: Command(name, "", "DIR", broken))
    with pytest.raises(OSError, match="no file is named"):
        main(["status", "runs/demo"])


def test_a_run_goes_on_when_nobody_reads_what_it_prints(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [*TINY, "sweep.sizes=[10k]", "sweep.budgets=[4096,8192]", "fit.bootstrap=20", f"dir={tmp_path / 'unread'}"]
    command = [sys.executable, "-m", "scalesweep", "run", *words]
    with os.fdopen(writer):
        assert subprocess.run(command, stdout=writer, stderr=writer).returncode == 0
    assert len(list(tmp_path.glob("unread/cells/*/record.json"))) == 2


def test_a_second_run_measures_nothing_and_says_so(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in sweep.glob("cells/*/*")}
    assert main(["run", *TINY, f"dir={sweep}"]) == 0
    assert "Nothing new to measure: all 9 cells" in capsys.readouterr().out
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in sweep.glob("cells/*/*")} == before


@pytest.mark.slow
def test_a_grid_may_grow(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    grown = tmp_path / "grown"
    shutil.copytree(sweep, grown)
    assert main(["run", *TINY, "sweep.budgets=[2048,4096,8192,16384]", f"dir={grown}"]) == 0
    assert "3 cells to measure on cpu, 9 measured before, 3 new" in capsys.readouterr().out
    assert len(list(grown.glob("cells/*/record.json"))) == 12


def test_plan_prices_every_cell_and_writes_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", *TINY]) == 0
    out = capsys.readouterr().out
    for column in ("key", "width", "N", "D", "C", "batch", "steps", "lr", "tokens/N", "minutes"):
        assert column in out
    assert "core-hours" in out
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_sweep_is_priced_by_an_estimate_where_no_gpu_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*TINY, "train.device=cuda", "launcher=local"]
    assert main(["plan", *words]) == 0
    whole = capsys.readouterr().out
    assert "estimated minutes" in whole
    assert "Estimated: " in whole and "GPU-hours" in whole
    assert "Estimated, not measured, as PyTorch sees no GPU here" in whole
    assert main(["plan", *words, "sweep.budgets=[64k,128k,256k,512k]", "budget.hours=2e-4"]) == 0
    shrunk = capsys.readouterr()
    assert "declared cells are left out to fit budget.hours = 0.0002" in shrunk.err
    assert "the budget was held by an estimate" in shrunk.err


def test_status_counts_states(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(sweep)]) == 0
    assert capsys.readouterr().out.strip().endswith("9 complete")


def test_fit_of_a_sweep_under_another_convention(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(sweep), "count.params=total", "fit.bootstrap=20"]) == 0
    out = capsys.readouterr().out
    assert "N counts: all parameters" in out
    assert "20 resamples" in out


def test_report_of_a_sweep(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(sweep), "report.title='A title & more'"]) == 0
    assert "Report: " in capsys.readouterr().out
    assert "A title &amp; more" in (sweep / "report.html").read_text()
    again = (sweep / "report.md").read_text().split("## Make this report again")[1]
    run, made = [shlex.split(line) for line in again.splitlines() if line.startswith("scalesweep ")]
    settings = Store(sweep).plan_file.settings()
    assert run[:3] == ["scalesweep", "run", "sweep=smoke"]
    assert compose_settings(run[2:]) == settings
    assert made == ["scalesweep", "report", settings.dir, "report.title='A title & more'"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["sweep=smoke", "recipe=gpu", "train=gpu", "logger=none"],
        ["sweep=tuned_small", "model=hf"],
        ["data=files", "data.paths=[a.txt,/x y/b.txt]", "optim=muon", "dir='my runs'"],
        ["sweep=kaplan_small", "launcher=slurm", "launcher.partition=a100", "launcher.setup=[module load x,. env]"],
        ["sweep.name=mine", "+sweep.axes.recipe.lr=[0.002,0.005]", "report.title='A \"b\", it\\'s 1'"],
    ],
)
def test_settings_are_written_as_overrides_that_compose_to_them(words: list[str]) -> None:
    settings = compose_settings(words)
    found = overrides_of(settings)
    assert found is not None
    assert compose_settings(found) == settings
    assert len(found) < 20


def test_the_provenance_of_a_table_traces_it(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    rows = [(n, d, 1.7 + 400 / n**0.34 + 400 / d**0.28) for n in (1e6, 3e6, 1e7) for d in (1e8, 3e8, 1e9)]
    path.write_text("n,d,loss,excluded_reason\n" + "".join(f"{n},{d},{loss},\n" for n, d, loss in rows) + "1e7,1e9,9,odd\n")
    known = read_subject([str(path), "fit.bootstrap=20", "fit.seed=3"], "report").context.provenance
    assert known["points"] == str(path)
    assert known["sha256 of the file"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert known["rows"] == "10, 1 of them left out"
    assert "bootstrap 20" in known["settings of the fit"] and "seed 3" in known["settings of the fit"]
    assert known["reported with scalesweep"].startswith(__version__)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", known["reported on"])


def test_fit_and_report_of_a_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "points.csv"
    rows = [(n, d, 1.7 + 400 / n**0.34 + 400 / d**0.28) for n in (1e6, 3e6, 1e7) for d in (1e8, 3e8, 1e9)]
    path.write_text("params,tokens,loss\n" + "".join(f"{n},{d},{loss}\n" for n, d, loss in rows))
    assert main(["fit", str(path), "fit.bootstrap=20"]) == 0
    out = capsys.readouterr().out
    for words in ("0.34", "Compute-optimal allocation", "Rival laws on 9 points", "Back-test"):
        assert words in out
    place = tmp_path / "points-report"
    assert f"Written to {place}: fit.json, laws.csv, laws.tex, back_test.csv." in out
    assert {file.name for file in place.iterdir()} == {
        "fit.json",
        "laws.csv",
        "laws.tex",
        "back_test.csv",
    }  # the page is `report`'s
    assert shlex.split(out.splitlines()[-1])[-4:] == ["scalesweep", "report", str(path), "fit.bootstrap=20"]
    content = json.loads((place / "fit.json").read_text())
    assert {"laws", "findings", "approaches", "rivals", "back_test"} <= set(content)
    assert main(["report", str(path), "fit.bootstrap=20", f"dir={tmp_path / 'other'}"]) == 0
    cells = (tmp_path / "other" / "report.html").read_text(encoding="utf-8").split('id="cells"')[1].split("</table>")[0]
    assert cells.count("<tr>") == 1 + len(rows)
    for name in ("fit.json", "laws.csv", "laws.tex", "back_test.csv"):
        assert (tmp_path / "other" / name).read_bytes() == (place / name).read_bytes()
    capsys.readouterr()
    assert main(["fit", str(path), "fit.bootstrap=20", f"dir={tmp_path / 'other'}"]) == 0
    assert "report.html" not in capsys.readouterr().out  # the page shows this very fit
    assert main(["fit", str(path), "fit.bootstrap=10", f"dir={tmp_path / 'other'}"]) == 0
    assert "report.html there shows an earlier fit" in capsys.readouterr().out
    (tmp_path / "file").write_text("x")
    assert "cannot be written" in refused(capsys, "fit", str(path), "fit.bootstrap=20", f"dir={tmp_path / 'file' / 'x'}")


def test_data_prepares_a_corpus(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "data=python_small", "data.max_bytes=300k"]) == 0
    captured = capsys.readouterr()
    assert "training and" in captured.out
    assert "warning: train.validation_tokens = 65536 is more than the validation set holds" in captured.err
    assert main(["data", "data=python_small", "data.max_bytes=300k", "train.validation_tokens=8192"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_data_says_what_a_text_holds_and_what_was_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"doc": {"text": f"document {i % 90}"}} for i in range(100)] + [{"doc": {"text": None}}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["data=files", f"data.paths=[{tmp_path}/a.jsonl]", "data.column=doc.text", "data.tokenizer.kind=bytes"]
    words += ["train.validation_tokens=32", f"data.cache={tmp_path}/cache"]
    assert main(["data", *words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["documents"], facts["reading"]["characters"], facts["round_trip"]["lost_characters"]) == (90, 980, 0)
    assert facts["sample"].startswith("document 0<|endoftext|>document 1<|endoftext|>")
    assert main(["data", *words]) == 0
    shown = capsys.readouterr().out
    assert "980" in shown and "101 read, 1 without text, 0 skipped" in shown and facts["account"] in shown
    sweep = ["sweep=smoke", "sweep.sizes=[10k]", "sweep.budgets=[2048]", "sweep.seeds=[0]", "model.context=8", "logger=none"]
    assert main(["run", *sweep, *words, "launcher=inline", "fit.bootstrap=0", f"dir={tmp_path}/sweep"]) == 0
    assert facts["account"] in capsys.readouterr().out
    measured = read_measured(Store(tmp_path / "sweep"))
    assert report_context(measured, measured.settings, "").provenance["text"] == facts["account"]


def test_training_one_cell_is_a_hydra_application(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scalesweep", "train", "data=python_small", "data.max_bytes=300k", "logger=none"]
    cell = ["size=10k", "budget=4096", "train.validation_tokens=8192"]
    shown = subprocess.run([*command, *cell, "--cfg", "job"], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "size: 10k" in shown.stdout
    sweep = [f"hydra.sweep.dir={tmp_path}/many", "seed=0,1", "--multirun"]
    done = subprocess.run([*command, *cell, *sweep], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = [json.loads(p.read_text()) for p in (tmp_path / "many").glob("*/sweep/cells/*/record.json")]
    assert sorted(r["cell"]["seed"] for r in records) == [0, 1]
    refused = [f"hydra.sweep.dir={tmp_path}/some", "seed=-1,2", "--multirun"]
    done = subprocess.run([*command, *cell, *refused], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "job #0: seed = -1: must be greater than or equal to 0" in done.stderr
    records = [json.loads(p.read_text()) for p in (tmp_path / "some").glob("*/sweep/cells/*/record.json")]
    assert [r["cell"]["seed"] for r in records] == [2]
    for word, sentence in (
        ("budget=-5", "budget = -5: must be greater than 0"),
        ("data.name=x", "data.name=x has no effect with data=python: it needs data=hub"),
        ("bugdet=5", "bugdet is not a setting (did you mean budget?)"),
    ):
        wrong = subprocess.run([*command, word], capture_output=True, text=True, cwd=tmp_path)
        assert wrong.returncode == 2
        assert sentence in wrong.stderr
        assert "Traceback" not in wrong.stderr
    helped = subprocess.run([*command[:4], "--help"], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert helped.stdout.count("scalesweep train ") >= 4


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"train"}))
def test_every_command_has_help_with_three_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.split("Examples:")[1].count("scalesweep") >= 3


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^  (\w+) ", out, re.MULTILINE) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_usage_shows_every_option_that_help_tells_of(name: str) -> None:
    declared = load_command(name)
    told = [option for option in declared.options or () if option.about]
    assert all(option.spelling in declared.usage for option in told)


@pytest.mark.parametrize("preset", [p.stem for p in (config_dir() / "sweep").glob("*.yaml")])
def test_every_preset_makes_a_sound_plan(preset: str) -> None:
    settings = compose_settings([f"sweep={preset}"])
    assert settings.sweep.name == preset
    facts = {
        "enwik8": CorpusFacts("enwik8", "0", 257, 90_000_000),
        "hub": CorpusFacts("fineweb-edu", "0", 4096, 2_000_000_000),
    }
    plan = make_plan(settings, facts.get(settings.data.source, CorpusFacts("python", "0", 512, 3_500_000)), "cuda")
    assert all(c.epochs < 1.2 for c in plan.cells)
    assert [w for w in plan.warnings if "1 % off" not in w and "nearest size" not in w and "epochs" not in w] == []


def test_a_preset_sets_the_conventions_of_its_paper() -> None:
    count = compose_settings(["sweep=kaplan_small"]).count
    assert (count.params, count.flops) == ("non_embedding", "kaplan")


def test_axes_are_added_by_name() -> None:
    for word in ("sweep.axes.recipe.lr=[0.001,0.002]", "sweep.axes={recipe: {lr: [0.001,0.002]}}"):
        assert compose_settings([word]).sweep.axes == {"recipe": {"lr": [0.001, 0.002]}}


@pytest.mark.parametrize(
    "option",
    [f"{p.parent.name}={p.stem}" for p in config_dir().glob("*/*.yaml") if p.parent.name not in ("sweep", "study")],
)
def test_every_option_composes(option: str) -> None:
    tokens = ["data.paths=[x.npy]", "data.tokenizer.vocab_size=99"]
    needs = {
        "data=files": ["data.paths=[x.txt]"],
        "data=hub": ["data.name=x"],
        "data=generated": ["data.model=runs/x", "data.cell=0123"],
        "data=mix": ["data.parts=[{data: python, weight: 1}]"],
        "data=tokens": tokens,
        "model=custom": ["model.target=a.b:C"],
        "optim=custom": ["optim.target=a.b:C"],
    }
    compose_settings([option, *needs.get(option, [])])


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("sweep=smoek", "sweep = 'smoek' is not an option (did you mean smoke?); the options are"),
        ("sweep.sizess=[1]", "sweep.sizess is not a setting (did you mean sweep.sizes"),
        ("swep=smoke", "swep is not a setting (did you mean sweep?)"),
        ("sweep.sizes=[huge]", "sweep.sizes.0 = 'huge': must be a whole number, such as 64, 250k or 1.5M."),
        ("sweep.budgets=[-5]", "sweep.budgets.0 = -5: must be greater than 0."),
        ("recipe.lr=fast", "recipe.lr = 'fast': must be a number."),
        ("sweep.sizes=[10k,", "'sweep.sizes=[10k,' has a bracket that is not closed; a list with spaces needs quotes"),
        ("sweep.sizes=10k]", "'sweep.sizes=10k]' has a bracket that is not opened"),
        ("smoke", "'smoke' is a preset of sweeps; write sweep=smoke"),
        ("=1", "'=1' is not an override; write key=value"),
        ("dir=ünï", "'dir=ünï' cannot be read; put a value with special characters in quotes"),
        ("recipe.lr=1,2", "'recipe.lr=1,2' names several values; repeat the sweep at each: sweep.axes.recipe.lr=[1,2]"),
        ("recipe.lr=choice(1,2)", "'recipe.lr=choice(1,2)' names several values; repeat the sweep at each: "),
        ("sweep.sizes=10k,20k", "'sweep.sizes=10k,20k' names several values; a list is in brackets, sweep.sizes=[10k,20k]"),
        ("hydra.run.dir=x", "'hydra.run.dir=x' has no effect"),
        ("hydra/launcher=basic", "'hydra/launcher=basic' has no effect"),
        ("recipe.lr=true", "recipe: lr = True: must not be true or false"),
        ("--verbose", "'--verbose' is not an override; write key=value"),
    ],
)
def test_wrong_overrides_are_one_sentence(override: str, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        compose_settings([override])
    assert str(caught.value).startswith(sentence)


def test_of_many_overrides_the_one_that_cannot_be_read_is_named() -> None:
    good = ["sweep=smoke", "recipe.lr=0.004", "logger=none", "sweep.seeds=[0,1]", "report.title='a b'"]
    with pytest.raises(SpecError) as caught:
        compose_settings([*good, "dir=ünï", *good])
    assert "'dir=ünï'" in str(caught.value)
    assert not any(word in str(caught.value) for word in good)


def test_wrong_settings_end_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = f"dir={tmp_path / 'x'}"
    small = [*TINY, directory]
    assert "below one batch of 512 tokens" in refused(capsys, "run", *small, "sweep.budgets=[100]")
    assert "must be greater than 0" in refused(capsys, "run", *small, "sweep.budgets=[-1]")
    assert "train.validation_tokens" in refused(capsys, "run", *small, "train.validation_tokens=1M")
    assert "PyTorch sees no CUDA device" in refused(capsys, "run", *small, "train.device=cuda")
    assert "holds another sweep" in _store_of_another_sweep(tmp_path, capsys)
    assert "'rnu' is not a command (did you mean run?)" in refused(capsys, "rnu")
    assert not (tmp_path / "x").exists()


def _store_of_another_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    directory = f"dir={tmp_path / 'other'}"
    quick = [*TINY, directory, "sweep.sizes=[10k]", "sweep.budgets=[4096]"]
    assert main(["run", *quick]) == 0
    return refused(capsys, "run", *quick, "recipe.lr=0.001")


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    assert "cannot be written" in refused(capsys, "run", *TINY, f"dir={tmp_path}/file/sweep")
    assert "cannot be written" in refused(capsys, "run", *TINY, "dir=/proc/nothing/here")


def test_wrong_corpora_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 100)
    files = ["data", "data=files"]
    assert "missing.txt" in refused(capsys, *files, f"data.paths=[{tmp_path}/missing.txt]")
    assert "empty.txt" in refused(capsys, *files, f"data.paths=[{tmp_path}/empty.txt]")
    assert "binary.txt" in refused(capsys, *files, f"data.paths=[{tmp_path}/binary.txt]")


@pytest.mark.parametrize("command", ["data", "plan", "run"])
def test_a_text_shorter_than_one_window_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    (tmp_path / "short.txt").write_text("twenty characters...")
    words = ["data=files", f"data.paths=[{tmp_path}/short.txt]", "data.tokenizer.kind=bytes", "data.validation_fraction=0.4"]
    sentence = refused(capsys, command, *words, "logger=none", f"dir={tmp_path}/x", "model.context=16")
    assert "has 13 tokens" in sentence and "model.context + 1 = 17" in sentence


def test_a_hub_name_without_network_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scalesweep", "data", "data=hub", "data.name=nobody/nothing"]
    import os

    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 2
    assert "nobody/nothing" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("params,loss\n1e6,3\n", "1 usable point"),
        ("params,tokens\n1e6,3\n", "loss is missing"),
        ("params,tokens,loss\n" + "1e6,1e8,3\n" * 4 + "1e6,1e8,nan\n", "all 4 losses equal 3"),
        ("params,tokens,loss\n" + "1e6,1e8,3\n" * 4 + "1e6,1e8,-2\n", "row 5"),
        ("params,tokens,loss\n1e6,1e8,3\n2e6,1e8,2.9\n4e6,1e8,2.8\n", "3 usable points"),
        ("", "empty"),
    ],
)
def test_wrong_points_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    path = tmp_path / "points.csv"
    path.write_text(text)
    assert words in refused(capsys, "fit", str(path))


def test_commands_that_need_a_place_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no sweep" in refused(capsys, "status", str(tmp_path))
    assert "holds no sweep" in refused(capsys, "fit", str(tmp_path))
    assert "there is no such file" in refused(capsys, "fit", str(tmp_path / "points.csv"))
    assert "takes one directory" in refused(capsys, "status", "--watch")
    assert "first, such as" in refused(capsys, "report")
    assert "means nothing to fit of a file" in refused(capsys, "fit", "points.csv", "recipe.lr=1")


def test_a_diverged_cell_is_shown_and_makes_the_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", *TINY, f"dir={tmp_path / 'x'}", "sweep.sizes=[10k]", "sweep.budgets=[4096]", "recipe.lr=1e30"]
    assert main(words) == 3
    out = capsys.readouterr().out
    assert "1 of 1 cells has no loss: 1 diverged" in out
    assert main(["status", str(tmp_path / "x")]) == 3
    assert "1 diverged" in capsys.readouterr().out


def test_settings_that_mean_nothing_here_are_refused(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "points.csv").write_text("N,D,loss\n")
    assert "means nothing to report of a sweep's directory" in refused(capsys, "report", str(sweep), "recipe.lr=1")
    assert "dir=... has no effect on tournament" in refused(capsys, "tournament", str(sweep), "dir=x")
    words = ("fit", str(tmp_path / "points.csv"), "count.params=total")
    assert "means nothing to fit of a file of points" in refused(capsys, *words)


def test_a_sweep_that_must_not_be_written_is_fitted_and_reported_elsewhere(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def content() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in [sweep, *sweep.rglob("*")]}

    before, place = content(), tmp_path / "else where"
    assert main(["fit", str(sweep), "fit.bootstrap=20", f"dir='{place}'"]) == 0
    assert main(["report", str(sweep), "fit.bootstrap=20", f"dir='{place}'"]) == 0
    assert content() == before
    assert {"fit.json", "report.html", "report.md", "figures"} <= {path.name for path in place.iterdir()}
    assert json.loads((place / "fit.json").read_text())["laws"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sweep.json").write_text("{}")
    assert "another sweep and its report" in refused(capsys, "report", str(sweep), f"dir={tmp_path / 'other'}")


@pytest.mark.slow
def test_published_points_can_be_fitted_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit.bootstrap=20", "fit.huber_delta=0.001", f"dir={tmp_path / 'c'}"]
    assert main(["fit", "points=chinchilla", *words]) == 0
    out = capsys.readouterr().out
    assert "0.3473" in out
    assert "Compute-optimal allocation by three approaches" in out
    assert "did you mean chinchilla?" in refused(capsys, "fit", "points=chinchila")
    assert main(["report", "points=nanochat", f"dir={tmp_path / 'x'}", "fit.bootstrap=20"]) in (0, 2)


def test_coverage_of_a_design(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "points.csv"
    rows = [
        (n, d, (1.7 + 400 / n**0.34 + 400 / d**0.28) * (1 + 0.002 * (-1) ** (i + j)))
        for i, n in enumerate((1e6, 3e6, 1e7, 3e7, 1e8))
        for j, d in enumerate((1e8, 3e8, 1e9, 3e9))
    ]
    path.write_text("params,tokens,loss\n" + "".join(f"{n},{d},{loss}\n" for n, d, loss in rows))
    assert main(["coverage", str(path), "replicates=4", "fit.bootstrap=20"]) == 0
    assert "alpha" in capsys.readouterr().out
    assert "replicates = 'x': must be a positive whole number" in refused(capsys, "coverage", str(path), "replicates=x")


@pytest.mark.slow
def test_every_forecast_of_a_day_is_filed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    day = datetime.date.today()
    for name in (f"forecast-{day}.json", f"forecast-{day}-2.json"):
        assert main(["forecast", "points=chinchilla", "compute=1e21", "fit.bootstrap=5"]) == 0
        assert f"Filed: {name}" in capsys.readouterr().out
        assert (tmp_path / name).is_file()


@pytest.mark.parametrize(
    ("place", "reason"), [("taken.json", "never overwritten"), ("taken.json/f.json", "taken.json is no directory")]
)
def test_a_forecast_that_cannot_be_filed_is_not_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: str, reason: str
) -> None:
    (tmp_path / "taken.json").touch()
    monkeypatch.setattr("scalesweep.analysis.forecast.forecast.forecast", lambda *_, **__: pytest.fail("computed"))
    said = refused(capsys, "forecast", "points=chinchilla", "compute=1e21", f"file={tmp_path / place}")
    assert reason in said and "file=..." in said


def test_a_forecast_that_the_system_refuses_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    said = refused(capsys, "forecast", "points=chinchilla", "compute=1e21", f"file={tmp_path / 'f.json'}")
    assert "cannot be written (permission denied)" in said


def test_a_forecast_is_filed_once_and_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, filed = tmp_path / "points.csv", tmp_path / "forecast.json"
    rows = [
        (n, d, (1.7 + 400 / n**0.34 + 400 / d**0.28) * (1 + 0.001 * (-1) ** (i + j)))
        for i, n in enumerate((1e6, 3e6, 1e7, 3e7, 1e8))
        for j, d in enumerate((1e8, 3e8, 1e9, 3e9))
    ]
    path.write_text("params,tokens,loss\n" + "".join(f"{n},{d},{loss}\n" for n, d, loss in rows))
    assert main(["forecast", str(path), "at=[150M,4G]", f"file={filed}", "fit.bootstrap=30"]) == 0
    assert "if this form holds" in capsys.readouterr().out
    assert "never overwritten" in refused(capsys, "forecast", str(path), "at=[150M,4G]", f"file={filed}", "fit.bootstrap=30")
    later = tmp_path / "later.csv"
    later.write_text(f"params,tokens,loss\n150e6,4e9,{1.7 + 400 / 150e6**0.34 + 400 / 4e9**0.28}\n")
    assert main(["score", str(filed), str(later)]) == 0
    assert "inside if this form holds" in capsys.readouterr().out
    filed.write_text(filed.read_text().replace("150000000", "160000000"))
    assert "altered" in refused(capsys, "score", str(filed), str(later))
    assert f"{path}: this is no forecast" in refused(capsys, "score", str(path), str(later))
    assert "at = '[1]': must be parameters and tokens" in refused(capsys, "forecast", str(path), "at=[1]")
    cells = tmp_path / "cells.csv"
    assert main(["next", str(path), "budget=1e19", "target=1e20", "fit.bootstrap=20", f"out={cells}"]) == 0
    assert f"{len(read_cells(cells))} cells in {cells}. Measured by: scalesweep run cells={cells}" in capsys.readouterr().out
    assert "next needs target=FLOPs" in refused(capsys, "next", str(path), "budget=1e19")
