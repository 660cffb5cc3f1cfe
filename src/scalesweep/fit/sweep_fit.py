"""All laws fitted to one table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from scalesweep.errors import FitError, Refused
from scalesweep.fit.results import Finding, Fit, Status
from scalesweep.laws import Variable
from scalesweep.points.compute import Compute
from scalesweep.points.design import Noise, Span
from scalesweep.points.metric import Metric

Name = Literal["joint", "coupled", "repeated", "by_n", "by_d", "by_c", "by_n_floor", "by_d_floor", "by_c_floor"]
LINES: dict[Variable, Name] = {"N": "by_n", "D": "by_d", "C": "by_c"}
"""Laws of one variable as lines in log-log."""
FLOORS: dict[Variable, Name] = {"N": "by_n_floor", "D": "by_d_floor", "C": "by_c_floor"}
"""The same with a floor."""


_LIMITS_PREFERRED = {"A06", "A15"}
"""Warnings about the preferred law: where it ends, and that its intervals missed."""


CHOICES: dict[str, Name | None] = {"auto": None, "additive": "joint", "coupled": "coupled", "repeated": "repeated"}
"""The joint law that a value of `fit.law` stands for."""


def prefer(laws: Mapping[Name, Fit | Refused], chosen: Name | None = None) -> Name:
    """The chosen joint law, or else the one that the points prefer: additive unless the coupled one has the lower AICc."""
    if chosen is not None:
        return chosen
    joint, coupled = laws.get("joint"), laws.get("coupled")
    return "coupled" if isinstance(joint, Fit) and isinstance(coupled, Fit) and coupled.aicc < joint.aicc else "joint"


@dataclass(frozen=True, eq=False)
class SweepFit:
    """All laws estimated from one table of points."""

    laws: Mapping[Name, Fit | Refused]
    """L(N, D), additive and coupled, L(N, D, U) where it was chosen, and L(N), L(D) and L(C), as lines and with a floor.
    Where the design carries no joint law, `joint` says why,
    and there is no `coupled`."""
    noise: Noise | None
    """Replicate noise; None without replicates."""
    span: Span
    """The measured range."""
    num_used: int
    """Rows that fits used."""
    num_excluded: int
    """Rows that carry an excluded_reason."""
    params_convention: str
    """What N counts."""
    flops_convention: str
    """What C counts."""
    source: str
    """Where the points come from."""
    metric: Metric
    """What the laws are of."""
    compute: Compute
    """How C relates to N D, and whether its units can be right."""
    notes: tuple[str, ...]
    """What was derived while reading the points."""
    bootstrap: int
    """Resamples asked for."""
    confidence: float
    """Nominal coverage of the intervals."""
    seed: int
    """Seed of the resampling."""
    chosen: Name | None = None
    """The joint law that `fit.law` asks for; None: the one that the points prefer."""
    findings: tuple[Finding, ...] = ()
    """Coded warnings, by `checks.check`."""

    def __getitem__(self, name: Name) -> Fit:
        """A law that was fitted.

        Raises:
            FitError: it was refused; the message has the reason.
        """
        if name not in self.fits:
            why = self.refusals.get(name) or self.refusals.get("joint") or f"the law {name!r} was not asked for (fit.law)."
            raise FitError(f"{self.source}: {why}")
        return self.fits[name]

    @property
    def fits(self) -> dict[Name, Fit]:
        """The laws that were fitted, by name."""
        return {name: found for name, found in self.laws.items() if isinstance(found, Fit)}

    @property
    def refusals(self) -> dict[Name, Refused]:
        """Those that were not."""
        return {name: found for name, found in self.laws.items() if isinstance(found, Refused)}

    @property
    def noise_ratio(self) -> float | None:
        """Residual sd of the preferred joint law over the replicate noise; None where one of them is not known."""
        best = self.preferred
        return best.noise_ratio(self.noise) if best else None

    @property
    def preferred_name(self) -> Name:
        """The joint law that was chosen or that the points prefer."""
        return prefer(self.laws, self.chosen)

    def preferred_of(self, variable: Variable) -> Name | None:
        """The law of one variable that the points prefer, or None where there is none.

        It is the one with a floor where that was given, or where its interval excludes zero; else the line. Of nested laws
        that is the likelihood ratio test. AICc corrects for few points by so much that it keeps the line through the six
        budgets of marin (docs/reading.md), whose residuals a floor takes from 0.30 % to 0.04 %.
        """
        line, floor = self.fits.get(LINES[variable]), self.fits.get(FLOORS[variable])
        if floor is None:
            return LINES[variable] if line else None
        ends, is_given = floor.estimates["E"].interval, floor.num_free == 2
        return FLOORS[variable] if line is None or is_given or (ends and ends.low > 0) else LINES[variable]

    @property
    def preferred(self) -> Fit | None:
        """The fit of that law; None where the joint law was refused."""
        return self.fits.get(self.preferred_name)

    @property
    def order(self) -> list[Name]:
        """Names of the fitted laws, the preferred joint law first, and of each variable its preferred law before the other."""
        names = list(self.fits)
        leading = {self.preferred_name, *(name for variable in LINES if (name := self.preferred_of(variable)))}
        places = {n: i for laws in (LINES, FLOORS) for i, n in enumerate(laws.values(), start=1)}
        return sorted(names, key=lambda name: (places.get(name, 0), name not in leading))

    def beside(self, name: Name) -> Name | None:
        """The other fitted law of the same variable, where `name` is the preferred one of that variable."""
        for variable in LINES:
            if self.preferred_of(variable) == name:
                other = FLOORS[variable] if name == LINES[variable] else LINES[variable]
                return other if other in self.fits else None
        return None

    @property
    def refusal(self) -> Refused:
        """Why there is no preferred joint law, where there is none."""
        return self.refusals.get(self.preferred_name) or self.refusals["joint"]

    @property
    def stated_refusals(self) -> dict[Name, Refused]:
        """The refusals, without that of a law with a floor where the line of its variable was refused for the same reason."""
        twins = {FLOORS[variable]: LINES[variable] for variable in LINES}
        found = self.refusals
        return {name: why for name, why in found.items() if name not in twins or found.get(twins[name]) != why}

    @property
    def verdict(self) -> str:
        """One line on the preferred joint law: its status and reasons, or the refusal."""
        best = self.preferred
        if best is None:
            return f"{Status.NOT_IDENTIFIED.value} {self.refusal}"
        return " ".join((best.status.value, *best.messages))

    def with_findings(self, findings: Sequence[Finding]) -> "SweepFit":
        """The same laws with these warnings, in the order of their codes; no law that they limit is called identified, and
        none beside the preferred one.

        A02, of the design, limits every joint law; A04, of repeated data, those of fresh data.
        """
        codes = {finding.code for finding in findings}
        laws = dict(self.laws)
        for name in ("joint", "coupled", "repeated"):
            limits = {"A02"} if name == "repeated" else {"A02", "A04"}
            said = sorted(codes & (limits | (_LIMITS_PREFERRED if name == self.preferred_name else set())))
            found = laws.get(name)
            if not isinstance(found, Fit) or found.status is not Status.IDENTIFIED:
                continue
            reasons = (
                [f"Warning {said[0]} says why." if len(said) == 1 else f"Warnings {', '.join(said)} say why."] if said else []
            )
            if name != self.preferred_name and (self.preferred or self.chosen):  # whose intervals hold only if it is right
                reasons.append("Another law was chosen." if self.chosen else "Another law is preferred.")
            if reasons:
                laws[name] = replace(found, status=Status.WEAK, messages=(*found.messages, *reasons))
        return replace(self, laws=laws, findings=tuple(sorted(findings, key=lambda finding: finding.code)))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "laws": {name: law.to_dict() for name, law in self.fits.items()},
            "preferred": self.preferred_name if self.preferred else None,
            "chosen": self.chosen,
            "preferred_of": {variable: self.preferred_of(variable) for variable in LINES},
            "refusals": {name: refused.reason for name, refused in self.refusals.items()},
            "noise": asdict(self.noise) if self.noise else None,
            "noise_ratio": self.noise_ratio,
            "findings": [asdict(finding) for finding in self.findings],
            "extrapolation": {"measured": asdict(self.span), "decades": self.span.decades},
            "points": {
                "source": self.source,
                "used": self.num_used,
                "excluded": self.num_excluded,
                "params_convention": self.params_convention,
                "flops_convention": self.flops_convention,
                "loss": self.metric.name,
                "loss_unit": self.metric.unit,
                "flops_per_parameter_and_token": None if self.compute.is_contradiction else self.compute.k,
                "notes": list(self.notes),
            },
            "intervals": {
                "method": "percentiles of a pairs bootstrap, unless the law says otherwise",
                "resamples": self.bootstrap,
                "confidence": self.confidence,
                "seed": self.seed,
            },
        }

    def to_json(self) -> str:
        """`to_dict` as the text of a file."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"
