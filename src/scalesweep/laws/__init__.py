"""Functional forms of scaling laws: pure values with an equation, a source and closed forms. Estimation is in `fit`.

Symbols: N parameters, D training tokens, U unique training tokens, C training FLOPs, L loss in nats per token. `LAWS` finds a
form by its name; `base` says what a form of one's own has to define.
"""

from collections.abc import Mapping
from types import MappingProxyType

from scalesweep.arrays import FloatArray
from scalesweep.laws.base import Law, Parameter
from scalesweep.laws.batch import (
    KAPLAN_C_MIN,
    KAPLAN_CRITICAL_BATCH,
    KAPLAN_D,
    KAPLAN_N,
    KAPLAN_STEPS,
    PF_DAY_FLOPS,
    CriticalBatch,
    StepsLaw,
    breakdown,
    steps_at_batch,
)
from scalesweep.laws.joint import Chinchilla, Coupled, JointLaw
from scalesweep.laws.quadratic import Quadratic
from scalesweep.laws.reuse import Lovelace, Muennighoff
from scalesweep.laws.single import M4, Broken, PowerLaw, PowerLawFloor, Variable
from scalesweep.laws.variants import Kaplan, KaplanFloor, LargerTerm, Saturating

__all__ = [
    "KAPLAN_CRITICAL_BATCH",
    "KAPLAN_C_MIN",
    "KAPLAN_D",
    "KAPLAN_N",
    "KAPLAN_STEPS",
    "LAWS",
    "M4",
    "PF_DAY_FLOPS",
    "Broken",
    "Chinchilla",
    "Coupled",
    "CriticalBatch",
    "FloatArray",
    "JointLaw",
    "Kaplan",
    "KaplanFloor",
    "LargerTerm",
    "Law",
    "Lovelace",
    "Muennighoff",
    "Parameter",
    "PowerLaw",
    "PowerLawFloor",
    "Quadratic",
    "Saturating",
    "StepsLaw",
    "Variable",
    "breakdown",
    "steps_at_batch",
]
_FORMS: tuple[type[Law], ...] = (
    *(PowerLaw, PowerLawFloor, Broken, M4),
    *(Chinchilla, Coupled, Kaplan, KaplanFloor, LargerTerm, Saturating, Quadratic),
    *(Muennighoff, Lovelace, StepsLaw),
)
LAWS: Mapping[str, type[Law]] = MappingProxyType({form.name: form for form in _FORMS})
"""Every form by its name."""
