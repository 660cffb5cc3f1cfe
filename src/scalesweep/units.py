"""Numbers for people: one way to write a count, a value, a rate and a duration, everywhere."""

import math


def format_duration(seconds: float) -> str:
    """Seconds in the unit that suits them: 42 s, 3.2 minutes, 5.1 hours, 2.3 days."""
    for size, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        # Below one and a half of a unit the smaller one reads more plainly: 80 minutes, not 1.3 hours.
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1f} s"


def format_plain(number: float, digits: int = 2) -> str:
    """So many significant digits, without an exponent: 340, 1,200, 2.5, 0.0012."""
    if not number or not math.isfinite(number):
        return f"{number:g}"
    rounded = float(f"{number:.{digits - 1}e}")
    places = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    text = f"{rounded:,.{places}f}"
    return text.rstrip("0").rstrip(".") if places else text


def format_number(value: float) -> str:
    """The value with four significant digits, for people; stored values keep full precision."""
    return f"{value:.4g}".replace("e+0", "e").replace("e+", "e")


def format_share(value: float, digits: int = 2, sign: str = "") -> str:
    """A share in per cent with so many decimals, or as many more as two significant digits need: 64%, 0.73%, 0.0041%.

    A share that is not known is a dash, and only zero itself is written as zero: two different ends never read alike as 0.00%.
    """
    if not math.isfinite(value):
        return "-"
    if value and abs(value) < 0.5 * 10.0 ** -(digits + 2):
        digits = 1 - math.floor(math.log10(abs(value))) - 2
    if digits > 8:  # a rounding error of a number that is zero
        return "0%"
    return f"{value:{sign}.{digits}%}"


def format_within(value: float, half_width: float) -> str:
    """The value with the digits that its interval allows: two significant ones of the half-width, and no exponent below 1e7.

    Without a half-width that is positive and finite, as `format_number`.
    """
    if not (math.isfinite(value) and math.isfinite(half_width) and half_width > 0) or abs(value) >= 1e7:
        return format_number(value)
    places = 1 - math.floor(math.log10(half_width))
    return f"{round(value, places):.{max(0, places)}f}"


def format_rough(value: float) -> str:
    """The value with two significant digits, for people: 0.61, 4.9, 130, 2.2e6."""
    return format_number(float(f"{value:.2g}"))


def format_count(value: float) -> str:
    """A count with a unit: 30k, 1.5M, 2B; beyond the units a power of ten."""
    if value >= 1e15:
        return format_number(value)
    for unit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= unit * 0.9995:  # what three digits round up to a unit is one: 1M, not 1e+03k
            return f"{value / unit:.3g}{suffix}"
    return f"{value:.3g}"


def format_flop_rate(rate: float) -> str:
    """FLOPs a second with the prefixes of SI: 310 GFLOP/s, 1.2 TFLOP/s."""
    for factor, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rate >= 0.9995 * factor:
            return f"{rate / factor:.3g} {prefix}FLOP/s"
    return f"{rate:.3g} FLOP/s"


def plural(count: int, noun: str) -> str:
    """The count with its noun, which takes an s unless there is one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
