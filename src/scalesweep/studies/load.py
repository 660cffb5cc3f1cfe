"""A study by its name: its file of configuration and its judge, applied to points from anywhere."""

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from scalesweep.errors import SpecError
from scalesweep.points.points import Points
from scalesweep.settings.base import parse
from scalesweep.settings.compose import study_values
from scalesweep.settings.study import PlantedSpec, StudySpec
from scalesweep.settings.trust import load_module
from scalesweep.studies.base import NOISE, Arms, Control, Findings, Rule, decide
from scalesweep.studies.result import FormName, Result, result_of

_OURS = "scalesweep.studies.judges."
SIMULATED_DRAWS = 200
"""Resamples behind the intervals of simulated tables: their ends, at 5 %, are then off by 1.5 % of probability."""
_PLANTED = 3
"""Tables of each planted effect, of which the majority counts: a right rule errs on one in twenty."""


@dataclass(frozen=True, eq=False)
class Study:
    """A study that can judge points."""

    name: str
    spec: StudySpec
    module: ModuleType

    @property
    def rule_hash(self) -> str:
        """Twelve hex digits of all that was fixed beforehand: arms, parts, thresholds, seeds."""
        return hashlib.sha256(self.spec.model_dump_json().encode()).hexdigest()[:12]

    @property
    def rule(self) -> Rule:
        """What the judge estimates by."""
        return Rule(self.spec.draws, self.spec.seed)

    def findings(self, arms: Arms, rule: Rule) -> Findings:
        """What the judge finds, an effect for every part.

        Raises:
            PointsError: the points cannot be judged.
            FitError: a law that the judge needs cannot be fitted.
        """
        found: Findings = self.module.judge(arms, rule)
        if missing := [part.name for part in self.spec.parts if part.name not in found.effects]:
            raise SpecError(f"{self.spec.judge}: judge gives no effect of part {missing[0]}.")
        return found

    def judge(self, points: Points | Arms) -> Result:
        """Judge measured points of one's own: a table, which is the arm `base`, or one for each arm.

        Raises:
            PointsError: an arm or a column is missing.
            FitError: a law that the judge needs cannot be fitted.
        """
        arms = {"base": points} if isinstance(points, Points) else points
        found = self.findings(arms, self.rule)
        return result_of(self.name, "points", self.spec, found, planted_controls(self, arms, found, "points"))


def load_study(name: str, own: Sequence[Path] = ()) -> Study:
    """The study of this name.

    Args:
        name: of configs/study/NAME.yaml, or of the same place in one of `own`.
        own: directories of the user's own.

    Raises:
        SpecError: there is no such study, its file is wrong, or its judge was not trusted or cannot be imported.
    """
    spec = parse(StudySpec, study_values(name, own), prefix=f"study/{name}: ")
    what = f"study/{name}: judge = {spec.judge!r}"
    if not spec.judge.startswith(_OURS):
        module = load_module(spec.judge, what)
    elif importlib.util.find_spec(spec.judge) is None:
        raise SpecError(f"{what}: scalesweep has no such judge.")
    else:
        module = importlib.import_module(spec.judge)
    needed = ["judge", *(["simulate"] if spec.planted else []), *(["forecast"] if spec.sealed else [])]
    if missing := [function for function in needed if not callable(getattr(module, function, None))]:
        raise SpecError(f"{what}: the module has no function {missing[0]}.")
    return Study(name, spec, module)


def planted_controls(study: Study, arms: Arms, found: Findings, form: FormName) -> list[Control]:
    """The judge's words on tables of this very design and noise in which the effect is known.

    A table of the user's own may have no power, which is no fault of the judge: only the opposite word fails there.
    """
    noise = found.noise if found.noise > 0 else NOISE
    return [_planted(study, arms, noise, index, form) for index in range(len(study.spec.planted))]


def _planted(study: Study, arms: Arms, noise: float, index: int, form: FormName) -> Control:
    planted: PlantedSpec = study.spec.planted[index]
    part = next(part for part in study.spec.parts if part.name == planted.part)
    simulate: Callable[..., Arms] = study.module.simulate
    words = []
    for table in range(_PLANTED):
        rng = np.random.default_rng([study.spec.seed, index, table])
        drawn = simulate(arms, planted.part, planted.theta, noise, rng)
        effect = study.findings(drawn, Rule(SIMULATED_DRAWS, study.spec.seed)).effects[planted.part]
        words.append(decide(part, effect).word)
    allowed = {planted.word, "cannot tell"} if form == "points" else {planted.word}
    passed = sum(word in allowed for word in words) > _PLANTED / 2
    num = words.count(planted.word)
    return Control(
        f"planted {planted.part} {planted.theta:g}",
        f"Simulated tables of this design with {planted.part} {planted.theta:g} are {planted.word}: {num} of {_PLANTED} were",
        passed,
        effect.value,
        effect.low,
        effect.high,
        planted.theta,
    )
