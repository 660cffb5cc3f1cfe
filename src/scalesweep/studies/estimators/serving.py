"""The cheapest model of a given loss when it is to serve tokens as well: Sardana et al. 2024 (arXiv 2401.00448), section 3.

Training costs 6 N D FLOPs and serving D_inf tokens 2 N D_inf. A step in ln N at equal loss changes ln D by -s, where s =
(dL/d ln N) / (dL/d ln D) is the law's elasticity, and so the cost by 6 N D (1 - s) + 2 N D_inf. Where that vanishes, at the
cheapest model of the loss, serving cost / training cost = s - 1. For E plus any coupling of A / N^alpha and B / D^beta the
model has a closed form in s, and all but its scale depends on alpha, beta and kappa alone: not on the loss, not on E.
"""

import math
from dataclasses import dataclass

from scipy.optimize import brentq

from scalesweep.errors import FitError
from scalesweep.laws import JointLaw

_WIDEST = 60.0
"""-ln of the smallest ratio of costs that is sought."""


@dataclass(frozen=True)
class Serving:
    """The cheapest model for its loss at a demand, over the compute-optimal model of the same loss (C = 6 N D)."""

    served: float
    """Tokens served, over the training tokens of the compute-optimal model."""
    n: float
    """Parameters, over those of the compute-optimal model."""
    d: float
    """Training tokens, over those of the compute-optimal model."""
    ratio: float
    """r = serving cost / training cost = s - 1."""

    @property
    def saving(self) -> float:
        """Share of the whole cost that it saves against the compute-optimal model."""
        return 1 - self.n * (3 * self.d + self.served) / (3 + self.served)


def serve(law: JointLaw, served: float) -> Serving:
    """The cheapest model for its loss.

    Args:
        law: any joint law; its E, A and B do not matter.
        served: tokens served, over the training tokens of the compute-optimal model of the same loss.

    Raises:
        FitError: the law has no compute optimum.
    """
    if not law.has_optimum:
        raise FitError("A term of the law vanishes, so that it has no compute optimum to compare with.")

    def excess(log_ratio: float) -> float:
        return log_ratio + math.log(3 / served) + _log_d(law, 1 + math.exp(log_ratio))

    # serving / training = 2 N served / (6 N D), of which D grows with s, so that the ratio is at most served / 3.
    log_ratio = float(brentq(excess, -_WIDEST, math.log(served / 3), xtol=1e-14)) if served else -math.inf
    ratio = math.exp(log_ratio)
    log_d = _log_d(law, 1 + ratio)
    log_n = (law.beta * log_d - law.coupling * math.log1p(ratio)) / law.alpha
    return Serving(served, math.exp(log_n), math.exp(log_d), ratio)


def serving_optimum(law: JointLaw, loss: float, tokens: float) -> tuple[float, float]:
    """N and D of the cheapest model with this loss that serves so many tokens.

    Raises:
        FitError: the law has no compute optimum, or its floor is above the loss.
    """
    if not loss > law.E:
        raise FitError(f"No model of this law reaches a loss of {loss:g}: its floor is {law.E:g}.")
    # With u = A / N^alpha and v = B / D^beta, the optimum has alpha u^(1/kappa) = beta v^(1/kappa).
    kappa, share = law.coupling, law.alpha / (law.alpha + law.beta)
    v = (loss - law.E) * share**kappa
    u = (loss - law.E) * (1 - share) ** kappa
    n, d = (law.A / u) ** (1 / law.alpha), (law.B / v) ** (1 / law.beta)
    found = serve(law, tokens / d)
    return n * found.n, d * found.d


def _log_d(law: JointLaw, s: float) -> float:
    """Ln D over that of the compute optimum at the model of equal loss whose elasticity is s.

    There (u / v)^(1/kappa) = s beta / alpha and (u^(1/kappa) + v^(1/kappa))^kappa is the same.
    """
    return law.coupling / law.beta * math.log((law.alpha + s * law.beta) / (law.alpha + law.beta))
