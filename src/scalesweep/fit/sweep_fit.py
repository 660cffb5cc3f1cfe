"""All laws fitted to one table."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from scalesweep.fit.results import Finding, Fit, Status
from scalesweep.points.design import Noise, Span

Name = Literal["joint", "coupled", "by_n", "by_d", "by_c"]


@dataclass(frozen=True, eq=False)
class SweepFit:
    """All laws estimated from one table of points."""

    joint: Fit | None
    """The additive L(N, D), or None where it was refused."""
    coupled: Fit | None
    """The coupled L(N, D), or None where it was refused."""
    by_n: Fit | None
    """Kaplan's L(N), or None where it was refused."""
    by_d: Fit | None
    """Kaplan's L(D), or None where it was refused."""
    by_c: Fit | None
    """Kaplan's L(C), or None where it was refused."""
    refusals: Mapping[Name, str]
    """Why a law was refused, by its name."""
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

    @property
    def noise_ratio(self) -> float | None:
        """Residual sd of the preferred joint law over the replicate noise; None where one of them is not known."""
        best = self.preferred
        return best.noise_ratio(self.noise) if best else None

    @property
    def preferred_name(self) -> Name:
        """The joint law that the points prefer: the additive one unless the coupled one has the lower AICc."""
        return "coupled" if self.joint and self.coupled and self.coupled.aicc < self.joint.aicc else "joint"

    @property
    def preferred(self) -> Fit | None:
        """The fit of that law; None where the joint law was refused."""
        return self.laws.get(self.preferred_name)

    @property
    def joint_refusal(self) -> str:
        """Why there is no joint law; empty where there is one."""
        return self.refusals.get("joint", "")

    @property
    def laws(self) -> dict[Name, Fit]:
        """The laws that were fitted, by name."""
        every: dict[Name, Fit | None] = {
            "joint": self.joint,
            "coupled": self.coupled,
            "by_n": self.by_n,
            "by_d": self.by_d,
            "by_c": self.by_c,
        }
        return {name: law for name, law in every.items() if law is not None}

    @property
    def order(self) -> list[Name]:
        """Names of the fitted laws, the preferred joint law first."""
        return sorted(self.laws, key=lambda name: name != self.preferred_name)

    @property
    def verdict(self) -> str:
        """One line on the preferred joint law: its status and reasons, or the refusal."""
        best = self.preferred
        if best is None:
            return f"{Status.NOT_IDENTIFIED.value} {self.joint_refusal}"
        return " ".join((best.status.value, *best.messages))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "laws": {name: law.to_dict() for name, law in self.laws.items()},
            "preferred": self.preferred_name if self.preferred else None,
            "refusals": dict(self.refusals),
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
