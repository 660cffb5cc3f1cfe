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
    """The table as lines of at most 100 characters."""
    title = f"{confidence:.0%} intervals of a run: hold (width)"
    lines = [
        f"{'':21} | {'median error':^24} {'bias':>6} | {title}",
        f"{'horizon':10}{'rows':>5}{'abst.':>6} | {'mean':>6}{'preferred':>10}{'additive':>9} {'':>5} | "
        f"{'honest':>12}{'preferred':>13}{'additive':>13}",
    ]
    for row in rows:
        widths = {kind: f"({format_share(width, 1 if width < 1 else 0)})" for kind, width in row.width.items()}
        held = "".join(f"{format_share(row.covered[kind], 0):>5} {widths[kind]:>7}" for kind in ("honest", "form", "additive"))
        lines.append(
            f"{row.horizon:10}{row.num:>5}{format_share(row.abstained, 0):>6} | {format_share(row.error):>6}"
            f"{format_share(row.preferred_error):>10}{format_share(row.additive_error):>9} "
            f"{format_share(row.bias, 1, sign='+'):>6}| {held}".rstrip()
        )
    return lines
