"""Estimation of scaling laws from a table of points: values with a status in words and intervals.

The entry for a whole table is `fit_laws`. It needs neither the experiment half of the package nor a GPU.
"""

from scalesweep.fit.estimates import Estimate
from scalesweep.fit.intervals import predict_interval
from scalesweep.fit.laws import fit_laws
from scalesweep.fit.results import Fit, Status
from scalesweep.fit.sweep_fit import SweepFit

__all__ = ["Estimate", "Fit", "Status", "SweepFit", "fit_laws", "predict_interval"]
