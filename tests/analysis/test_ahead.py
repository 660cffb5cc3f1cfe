"""The three answers of the first screen, on points of a law that is known."""

import math
from dataclasses import replace

import numpy as np
from surfaces import measure

from scalesweep.analysis.ahead import look_ahead
from scalesweep.analysis.analyse import Analysis, analyse
from scalesweep.fit.results import Status
from scalesweep.laws import Chinchilla
from scalesweep.settings.fit import FitSpec

QUICK = FitSpec(bootstrap=50)


def analysed(law: Chinchilla, seed: int) -> Analysis:
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e5, 1e7, 6), np.geomspace(1e6, 1e8, 5)))
    return analyse(measure(law, n, d, 0.01, seed), QUICK)


def test_the_best_model_is_known_where_e_alone_is_at_its_bound() -> None:
    truth = Chinchilla(E=0.05, A=40.0, B=60.0, alpha=0.30, beta=0.27)
    analysis = next(
        found
        for seed in range(20)
        if (best := (found := analysed(truth, seed)).fit.preferred) and best.status is Status.AT_BOUND
    )
    assert analysis.fit.preferred is not None and analysis.fit.preferred.search is not None
    assert analysis.fit.preferred.search.at_bound == ("E = 0",)
    assert not analysis.fit.preferred.hides_optimum
    assert analysis.ahead.refusal == ""
    first = analysis.ahead.best[0]
    assert first.n is not None
    assert abs(math.log(first.n.value / float(truth.n_opt(first.c)))) < 0.2


def test_nothing_is_said_of_the_best_model_where_another_parameter_is_at_its_bound() -> None:
    analysis = analysed(Chinchilla(E=1.0, A=40.0, B=60.0, alpha=0.30, beta=0.27), 0)
    fit, name = analysis.fit, analysis.fit.preferred_name
    assert fit.preferred is not None and fit.preferred.search is not None
    assert analysis.ahead.best
    bound = replace(fit.preferred, search=replace(fit.preferred.search, at_bound=("alpha = 10",)))
    changed = replace(fit, laws={**fit.laws, name: bound})
    ahead = look_ahead(analysis.points, changed, analysis.approaches, analysis.tournament, analysis.support, QUICK)
    assert "at its bound" in ahead.refusal
    assert not ahead.best
