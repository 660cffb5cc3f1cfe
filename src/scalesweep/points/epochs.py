"""How often each run saw its data, from the columns of a table that say so."""

from typing import TYPE_CHECKING

import numpy as np

from scalesweep.arrays import FloatArray

if TYPE_CHECKING:
    import pandas as pd


def find_epochs(frame: "pd.DataFrame") -> FloatArray | None:
    """Tokens seen over unique tokens, shape (rows,); NaN where a row does not say, None where no row does.

    Args:
        frame: rows with d, and `epochs` or, where it does not say, `unique_tokens`, by which d is divided.
    """
    import pandas as pd

    found = np.full(len(frame), np.nan)
    for name in ("epochs", "unique_tokens"):
        if name in frame:
            values = np.asarray(pd.to_numeric(frame[name], errors="coerce"), dtype=np.float64)
            values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
            epochs = values if name == "epochs" else frame["d"].to_numpy(dtype=np.float64) / values
            found = np.where(np.isnan(found), epochs, found)
    return None if np.isnan(found).all() else found
