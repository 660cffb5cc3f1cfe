"""How often data were seen, by the columns that say so."""

import numpy as np
import pandas as pd

from scalesweep.fit import fit_laws
from scalesweep.points.epochs import find_epochs
from scalesweep.points.reading import read_points
from scalesweep.settings.fit import FitSpec


def test_epochs_are_given_or_follow_from_the_unique_tokens():
    frame = pd.DataFrame({"d": [1e9, 2e9, 4e9, 8e9], "unique_tokens": [1e9, 1e9, None, "many"], "epochs": [None, 2.5, None, 3]})
    np.testing.assert_allclose(find_epochs(frame), [1, 2.5, np.nan, 3])
    assert find_epochs(frame[["d"]]) is None
    assert find_epochs(pd.DataFrame({"d": [1e9], "epochs": ["?"]})) is None


def test_a_table_with_unique_tokens_has_the_warning_of_repeated_data():
    n, d = (axis.ravel() for axis in np.meshgrid([1e7, 3e7, 1e8], [3e8, 1e9, 3e9]))
    frame = pd.DataFrame({"n": n, "d": d, "loss": 1.7 + 400 / n**0.34 + 400 / d**0.28})
    codes = {}
    for unique in (1e8, 1e9):
        found = fit_laws(read_points(frame.assign(unique_tokens=unique)), FitSpec(bootstrap=0)).findings
        codes[unique] = {finding.code: finding.text for finding in found}
    assert "30.0 times, 6 of 9 more than 4 times" in codes[1e8]["A04"]
    assert "A04" not in codes[1e9]
