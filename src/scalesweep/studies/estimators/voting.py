"""Which forms of law the points allow, each with its resamples."""

from collections.abc import Sequence

import numpy as np

from scalesweep.errors import FitError
from scalesweep.fit.criterion import tempered_weights
from scalesweep.fit.forms import find_form, fit_law, refuse_rows
from scalesweep.fit.results import Fit
from scalesweep.laws import Law
from scalesweep.points.design import refuse_joint
from scalesweep.points.rows import Rows
from scalesweep.settings.fit import FitSpec


def fit_voters(rows: Rows, spec: FitSpec, forms: Sequence[str | type[Law]]) -> list[Fit]:
    """The forms with a vote (`criterion.tempered_weights`), the best first; only these are resampled.

    Raises:
        FitError: the design does not tell N from D, or no form can be fitted.
    """
    if refusal := refuse_joint(rows.n, rows.d):
        raise FitError(refusal.reason)
    fits, reasons = [], []
    for form in map(find_form, forms):
        if refusal := refuse_rows(form, len(rows)):
            reasons.append(refusal.reason)
            continue
        try:
            fits.append(fit_law(form, rows, spec.model_copy(update={"bootstrap": 0})))
        except (FitError, np.linalg.LinAlgError) as error:
            reasons.append(str(error))
    if not fits:
        raise FitError(" ".join(reasons))
    criteria = np.array([fit.aicc for fit in fits])
    weights = tempered_weights(criteria)
    voters = [fits[i] for i in np.argsort(criteria, kind="stable") if weights[i] > 0]
    return [fit_law(type(fit.law), rows, spec) for fit in voters] if spec.bootstrap else voters
