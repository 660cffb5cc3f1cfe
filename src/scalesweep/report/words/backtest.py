"""A back-test as text for a terminal."""

from collections.abc import Sequence

from scalesweep.analysis.forecast.backtest import AXES, MIN_ROWS, BackTest, HorizonRow
from scalesweep.units import format_share


def summarise(tested: BackTest) -> str:
    """The table as text for a terminal."""
    title = f"Rolling origin by {AXES[tested.axis]}, {tested.source}: fit below a cut, predict every row above it"
    if tested.outcomes is None:
        return f"{title}\n  No cut leaves {MIN_ROWS} rows below it that determine a law and one above it."
    return "\n".join([title, *(f"  {line}" for line in render_rows(tested.rows, tested.confidence))])


def render_rows(rows: Sequence[HorizonRow], confidence: float) -> list[str]:
    """The table as lines of at most 97 characters."""
    title = f"{confidence:.0%} intervals of a run: hold (width)"
    lines = [
        f"{'':23} | {'mean of the forms':^16} | {'additive':>8} | {title:^42}".rstrip(),
        f"{'horizon':10}{'rows':>6}{'abst.':>7} | {'error':>7} {'bias':>8} | {'error':>8} | "
        f"{'honest':>14}{'preferred law':>14}{'additive':>14}",
    ]
    for row in rows:
        held = "".join(
            f"{format_share(row.covered[kind], 0):>6} ({format_share(row.width[kind], 1):>4})" + " "
            for kind in ("honest", "form", "additive")
        )
        lines.append(
            f"{row.horizon:10}{row.num:>6}{format_share(row.abstained, 0):>7} | {format_share(row.error):>7} "
            f"{format_share(row.bias, sign='+'):>8} | "
            f"{format_share(row.additive_error):>8} | {held}".rstrip()
        )
    return lines
