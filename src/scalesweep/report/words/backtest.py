"""A back-test as text for a terminal."""

from collections.abc import Sequence

from scalesweep.analysis.forecast.backtest import AXES, MIN_ROWS, BackTest, HorizonRow


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
        f"{'':22} | {'median error':^24} {'bias':>6} | {title}",
        f"{'horizon':10}{'rows':>5}{'abst.':>7} | {'mean':>6}{'preferred':>10}{'additive':>9} {'':>5} | "
        f"{'honest':>12}{'preferred':>13}{'additive':>13}",
    ]
    for row in rows:
        widths = {kind: f"({width:.1%})" if width < 1 else f"({width:.0%})" for kind, width in row.width.items()}
        held = "".join(f"{row.covered[kind]:>5.0%} {widths[kind]:>7}" for kind in ("honest", "form", "additive"))
        lines.append(
            f"{row.horizon:10}{row.num:>5}{row.abstained:>7.0%} | {row.error:>6.2%}{row.preferred_error:>10.2%}"
            f"{row.additive_error:>9.2%} {row.bias:>+6.1%}| {held}".rstrip()
        )
    return lines
