"""One law of each form, with a design on which its parameters can be told apart."""

import math

import numpy as np

from scalesweep.laws import (
    KAPLAN_STEPS,
    M4,
    Broken,
    Chinchilla,
    Coupled,
    Kaplan,
    KaplanFloor,
    LargerTerm,
    Lovelace,
    Muennighoff,
    PowerLaw,
    PowerLawFloor,
    Quadratic,
    Saturating,
)


def _mesh(*axes):
    return [axis.ravel() for axis in np.meshgrid(*axes)]


_N, _D = _mesh(np.geomspace(5e6, 1.6e8, 6), np.geomspace(2e7, 2e10, 6))
_SMALL_N, _SMALL_D = _mesh(np.geomspace(1.4e4, 4.6e5, 7), np.geomspace(1e5, 4e6, 7))
_REUSE_N, _U, _EPOCHS = _mesh(np.geomspace(1e7, 3e9, 6), np.geomspace(1e8, 1e10, 4), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
_X = np.geomspace(1e6, 1e11, 30)

LARGE = {"N": _N, "D": _D}
SMALL = {"N": _SMALL_N, "D": _SMALL_D}
REUSE = {"N": _REUSE_N, "D": _U * _EPOCHS, "U": _U}
STEPS = {"N": _N, "S_min": np.geomspace(1e3, 1e6, 36)[np.random.default_rng(0).permutation(36)]}

MUENNIGHOFF = Muennighoff(
    E=math.exp(0.6254804),
    A=math.exp(6.255414),
    B=math.exp(7.3049974),
    alpha=0.3526596,
    beta=0.3526596,
    R_D=15.387756,
    R_N=5.309743,
)
"""Constants of Muennighoff et al. 2023 as their code has them."""

CASES = [
    (PowerLaw(math.log(8.8e13), 0.076, "N"), {"N": _X}),
    (PowerLawFloor(1.7, 400.0, 0.34, "N"), {"N": _X}),
    (Broken(1.0, 30.0, 0.15, 0.2, 1e9, 0.4, "C"), {"C": _X}),
    (Broken(1.0, 30.0, 0.25, -0.15, 1e9, 0.2, "C"), {"C": _X}),
    (M4(1.5, 8.0, 1.3, 5.0, 0.3, "D"), {"D": _X}),
    (Chinchilla(1.69, 406.4, 410.7, 0.34, 0.28), LARGE),
    (Coupled(1.5, 20.0, 44.0, 0.24, 0.26, 0.36), SMALL),
    (Coupled(1.5, 20.0, 44.0, 0.24, 0.26, 1.4), SMALL),
    (Kaplan.from_scales(6.4e13, 1.8e13, 0.076, 0.103), LARGE),
    (KaplanFloor.from_scales(1e10, 1e11, 0.24, 0.26, 1.5), SMALL),
    (LargerTerm(1.5, 20.0, 44.0, 0.24, 0.26), SMALL),
    (Saturating(1.0, 300.0, 200.0, 0.45, 0.40, math.log(256)), SMALL),
    (Quadratic(9.2, -0.26, -0.37, 0.0087, -0.0062, 0.0094), LARGE),
    (MUENNIGHOFF, REUSE),
    (Lovelace(1.8, 500.0, 1500.0, 0.35, 0.37, 0.02, 0.7, 0.3), REUSE),
    (KAPLAN_STEPS, STEPS),
]
IDS = [f"{law.name}-{i}" for i, (law, _) in enumerate(CASES)]
