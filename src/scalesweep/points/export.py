"""A table of points in other programs' columns."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from scalesweep.errors import PointsError
from scalesweep.points.metric import METRIC_COLUMN, NATS_PER_TOKEN
from scalesweep.points.points import Points

if TYPE_CHECKING:
    import pandas as pd

Layout = Literal["scalesweep", "chinchilla", "vpnls"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
FORMATS = (".csv", ".parquet")


def layout_of(points: Points, layout: Layout) -> "pd.DataFrame":
    """The points in the columns of `layout`, N and C by the convention that they have.

    scalesweep: every column of every row, excluded ones too, and `loss_metric` where the loss is not nats per token. The others
    hold used rows only.
    chinchilla: C, N, D, loss, the columns of `chinchilla.Database` (kyo-takano/chinchilla, chinchilla/database.py), which reads
    df.csv of its project directory and rounds C, N and D to whole numbers.
    vpnls: experiment, params, tokens, loss, the columns of open-athena/isoflop-experiments that vpnls's examples read, N and D
    unscaled (Open-Athena/vpnls, README.md).
    """
    used = points.used
    if layout == "chinchilla":
        table = used[["c", "n", "d", "loss"]].set_axis(["C", "N", "D", "loss"], axis=1).round({"C": 0, "N": 0, "D": 0})
        return table.astype({"N": "int64", "D": "int64"})
    if layout == "vpnls":
        table = used[["n", "d", "loss"]].set_axis(["params", "tokens", "loss"], axis=1)
        table.insert(0, "experiment", Path(points.source).name)
        return table
    if points.metric is NATS_PER_TOKEN:
        return points.frame
    return points.frame.assign(**{METRIC_COLUMN: "nats_per_token" if points.metric.turned else points.metric.name})


def write_table(table: "pd.DataFrame", path: Path) -> None:
    """Write CSV at full precision, or Parquet, and the folder that it is to lie in.

    Raises:
        PointsError: the name ends on neither, or the file cannot be written.
    """
    if path.suffix not in FORMATS:
        raise PointsError(f"out = {str(path)!r}: must end in {' or '.join(FORMATS)}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path, index=False)
    except OSError as error:
        raise PointsError(f"{path} cannot be written: {error.strerror or error}; choose another place with out=....") from None
