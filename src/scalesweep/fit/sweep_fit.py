"""All laws fitted to one table."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from scalesweep.errors import FitError, Refused
from scalesweep.fit.results import Finding, Fit, Status
from scalesweep.points.compute import Compute
from scalesweep.points.design import Noise, Span
from scalesweep.points.metric import Metric

Name = Literal["joint", "coupled", "by_n", "by_d", "by_c"]


@dataclass(frozen=True, eq=False)
class SweepFit:
    """All laws estimated from one table of points."""

    laws: Mapping[Name, Fit | Refused]
    """L(N, D), additive and coupled, and Kaplan's L(N), L(D) and L(C). Where the design carries no joint law, `joint` says why,
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
    findings: tuple[Finding, ...] = ()
    """Coded warnings, by `checks.check`."""

    def __getitem__(self, name: Name) -> Fit:
        """A law that was fitted.

        Raises:
            FitError: it was refused; the message has the reason.
        """
        if name not in self.fits:
            raise FitError(f"{self.source}: {self.refusals.get(name) or self.refusals['joint']}")
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
        """The joint law that the points prefer: the additive one unless the coupled one has the lower AICc."""
        joint, coupled = self.fits.get("joint"), self.fits.get("coupled")
        return "coupled" if joint and coupled and coupled.aicc < joint.aicc else "joint"

    @property
    def preferred(self) -> Fit | None:
        """The fit of that law; None where the joint law was refused."""
        return self.fits.get(self.preferred_name)

    @property
    def order(self) -> list[Name]:
        """Names of the fitted laws, the preferred joint law first."""
        return sorted(self.fits, key=lambda name: name != self.preferred_name)

    @property
    def verdict(self) -> str:
        """One line on the preferred joint law: its status and reasons, or the refusal."""
        best = self.preferred
        if best is None:
            return f"{Status.NOT_IDENTIFIED.value} {self.refusals['joint']}"
        return " ".join((best.status.value, *best.messages))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "laws": {name: law.to_dict() for name, law in self.fits.items()},
            "preferred": self.preferred_name if self.preferred else None,
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
