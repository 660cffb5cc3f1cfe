"""The rule by which a declared grid shrinks to a budget. Pure.

1. Replicates go first: cells of any seed but the first one listed, those of the most FLOPs before the others.
2. Then cells go by FLOPs, the largest first, so that a full grid loses its expensive corner while the largest size at small
   budgets and the smallest size at large budgets, which hold the spans of N and D, stay longest. But L(N) is read from the
   sizes that share the largest budget, and L(D) from the budgets that share the largest size: where a grid has three or more
   of these, the last three go together with their whole budget or size, so that the next one takes its place.
3. A core is never left out: the smallest three neighbouring sizes that share three budgets, at the three smallest of these
   budgets (fewer where fewer are declared). Three values of N at each of three of D are what E, A, alpha, B and beta of a joint
   law need at least; with D a multiple of N, or two of either, they cannot be told apart.
4. What belongs together goes together: all axis values and all tuned values of a size, budget and seed; of an isoflop design
   the whole curve of a budget, as a curve without an arm has no minimum, and the core is its three smallest curves.
5. Cells that stand in the directory stay, whatever they cost, so that a sweep can always be gone on with, and can grow when its
   budget does. There the core has been chosen before, and new cells come only if they fit.

Cells are left out in this order, and only until the rest fits. So a larger budget always keeps what a smaller one keeps.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.plan.cell import Cell
from scalesweep.plan.grid import declared_budget
from scalesweep.plan.plan import Plan
from scalesweep.settings.plan import CountSpec
from scalesweep.settings.settings import Settings
from scalesweep.units import format_count

_UNITS = {"budget.hours": "hours", "budget.flops": "FLOPs", "budget.usd": "dollars"}
CORE = 3
"""Sizes, and budgets, that a joint law needs at least: rule 3."""


@dataclass(frozen=True)
class Limit:
    """One limit of a sweep and how it is counted."""

    name: str
    """The setting, such as budget.hours."""
    value: float
    cost: Callable[[Sequence[Cell]], float]
    """Of cells, in the limit's unit."""

    def amount(self, value: float) -> str:
        """So much, with the unit."""
        return f"{value:.3g} {_UNITS.get(self.name, '')}".rstrip()


@dataclass(frozen=True)
class _Place:
    """Cells that stay or go together."""

    size: tuple[int, int]
    """Width and depth; (0, 0) stands for every size of an isoFLOP curve."""
    budget: float
    seed: int
    stands: bool
    """Whether it is in the directory already."""
    cells: tuple[Cell, ...]

    @property
    def flops(self) -> float:
        """FLOPs of its largest cell."""
        return max(c.flops(CountSpec()) for c in self.cells)

    @property
    def flops_per_token(self) -> float:
        """That of its cheapest cell, by which sizes are ordered."""
        return min(c.flops(CountSpec()) / c.tokens for c in self.cells)


def shrink(plan: Plan, settings: Settings, limits: Sequence[Limit], keep: Collection[str] = ()) -> list[Cell]:
    """The cells to leave out so that the others fit every limit, in the order of the rule; none where all fit.

    Args:
        plan: the grid as declared.
        settings: what it was made from.
        limits: what the sweep may cost.
        keep: keys of cells that must stay.

    Raises:
        SpecError: nothing is kept, and the core costs more than a limit.
    """
    order = _steps(_places(plan, settings, keep), settings)
    few, enough = 0, len(order)
    while few < enough:  # cost falls with every place that is left out, but for anomalies of scheduling, so look on from there
        middle = (few + enough) // 2
        few, enough = (few, middle) if _fits(limits, _rest(plan, _joined(order[:middle]))) else (middle + 1, enough)
    while few < len(order) and not _fits(limits, _rest(plan, _joined(order[:few]))):
        few += 1
    rest = _rest(plan, _joined(order[:few]))
    for limit in limits:
        if (least := limit.cost(rest)) > limit.value and not any(c.key in keep for c in rest):
            raise SpecError(
                f"{limit.name} = {limit.value:g}: the {len(rest)} cells that a joint law needs at least (up to {CORE} sizes "
                f"by {CORE} budgets) come to {limit.amount(least)}; raise it to {_up(least):g}, or declare smaller sizes "
                "or budgets."
            )
    return [cell for place in _joined(order[:few]) for cell in place.cells]


def _places(plan: Plan, settings: Settings, keep: Collection[str]) -> list[_Place]:
    groups: dict[Any, list[Cell]] = {}
    sizes = _common_sizes(plan.cells)
    for cell in plan.cells:
        size = (0, 0) if settings.sweep.design == "isoflop" else sizes[cell.corpus_hash, _size(cell)]
        groups.setdefault((size, declared_budget(settings, cell), cell.seed, cell.key in keep), []).append(cell)
    return [_Place(size, budget, seed, stands, tuple(cells)) for (size, budget, seed, stands), cells in groups.items()]


def _size(cell: Cell) -> tuple[int, int]:
    return cell.shape.width, cell.shape.depth


def _common_sizes(cells: Sequence[Cell]) -> dict[tuple[str, tuple[int, int]], tuple[int, int]]:
    """Corpus and size -> the size of the first corpus with the same rank in N: with another vocabulary a declared size has
    another width, and the arms of a size are to stay or go together.
    """
    by_corpus: dict[str, dict[tuple[int, int], int]] = {}
    for cell in cells:
        by_corpus.setdefault(cell.corpus_hash, {})[_size(cell)] = cell.num_params(CountSpec())
    ranked = {corpus: [size for _, size in sorted((n, size) for size, n in ns.items())] for corpus, ns in by_corpus.items()}
    first = next(iter(ranked.values()))
    return {(corpus, size): first[min(i, len(first) - 1)] for corpus, sizes in ranked.items() for i, size in enumerate(sizes)}


def _joined(steps: Sequence[Sequence[_Place]]) -> list[_Place]:
    return [place for step in steps for place in step]


def _steps(places: Sequence[_Place], settings: Settings) -> list[list[_Place]]:
    """What may be left out, first things first; each step goes as a whole."""
    seeds = settings.sweep.seeds
    core = set() if any(p.stands for p in places) else _core([p for p in places if p.seed == seeds[0]], settings)
    free = [p for p in places if not p.stands and (p.seed != seeds[0] or (p.size, p.budget) not in core)]
    free.sort(key=lambda p: (p.seed == seeds[0], -p.flops, p.size, p.budget, -seeds.index(p.seed)))
    steps = [[p] for p in free if p.seed != seeds[0]]
    left, rest = [p for p in places if p.seed == seeds[0]], [p for p in free if p.seed == seeds[0]]
    whole = [axis for axis in _TOPS if len(axis(left)) >= CORE]
    while rest:
        step = [rest[0]]
        while broken := [top for top in (axis(_without(left, step)) for axis in whole) if len(top) < CORE]:
            if not (more := [p for p in broken[0] if any(p is other for other in rest)]):
                break  # what stands in the directory, or the core
            step += more
        steps.append(step)
        left, rest = _without(left, step), _without(rest, step)
    return steps


def _without(places: Sequence[_Place], gone: Sequence[_Place]) -> list[_Place]:
    names = {id(place) for place in gone}
    return [place for place in places if id(place) not in names]


def _at_largest_budget(places: Sequence[_Place]) -> list[_Place]:
    """The places that L(N) is read from."""
    top = max((p.budget for p in places), default=0.0)
    return [p for p in places if p.budget == top]


def _at_largest_size(places: Sequence[_Place]) -> list[_Place]:
    """The places that L(D) is read from."""
    top = max(places, key=lambda p: p.flops_per_token, default=None)
    return [p for p in places if top is not None and p.size == top.size]


_TOPS = (_at_largest_budget, _at_largest_size)


def _core(places: Sequence[_Place], settings: Settings) -> set[tuple[tuple[int, int], float]]:
    """Sizes and budgets that stay: the cheapest block of neighbouring sizes and shared budgets, else all of them."""
    budgets: dict[tuple[int, int], set[float]] = {}
    for place in sorted(places, key=lambda p: p.flops_per_token):
        budgets.setdefault(place.size, set()).add(place.budget)
    sizes, num_budgets = list(budgets), len({p.budget for p in places})
    for start in range(max(1, len(sizes) - CORE + 1)):
        block = sizes[start : start + CORE]
        shared = sorted(set.intersection(*(budgets[size] for size in block)))
        if len(shared) >= min(CORE, num_budgets):
            return {(size, budget) for size in block for budget in shared[:CORE]}
    if settings.sweep.design == "lshape" and min(len(sizes), num_budgets) >= CORE:  # the ends of both arms
        return {(size, b) for size in sizes[:CORE] for b in sorted(budgets[sizes[0]])[:CORE] if b in budgets[size]}
    return {(p.size, p.budget) for p in places}


def _rest(plan: Plan, out: Sequence[_Place]) -> list[Cell]:
    gone = {cell.key for place in out for cell in place.cells}
    return [cell for cell in plan.cells if cell.key not in gone]


def _fits(limits: Sequence[Limit], cells: Sequence[Cell]) -> bool:
    return all(limit.cost(cells) <= limit.value for limit in limits)


def _up(number: float) -> float:
    """Two digits, rounded up."""
    rounded = float(f"{number:.1e}")
    return rounded if rounded >= number else float(f"{number * 1.05:.1e}")


def describe(out: Sequence[Cell], settings: Settings, limits: Sequence[Limit], cells: Sequence[Cell]) -> list[str]:
    """What was left out of the declared cells, and which questions have no answer any more, in sentences."""
    if not out:
        return []
    total = len(cells)
    names = " and ".join(f"{limit.name} = {limit.value:g}" for limit in limits)
    first = settings.sweep.seeds[0]
    replicates = Counter(c.seed for c in out if c.seed != first)
    sentences = [f"{len(out)} of {total} declared cells are left out to fit {names}."]
    if replicates:
        seeds = ", ".join(f"{number} of seed {seed}" for seed, number in sorted(replicates.items()))
        sentences.append(f"Left out as replicates: {seeds}.")
    budgets: dict[str, set[float]] = {}
    for cell in sorted((c for c in out if c.seed == first), key=lambda c: c.num_params(settings.count)):
        budgets.setdefault(format_count(cell.num_params(settings.count)), set()).add(cell.tokens)
    if budgets:
        each = "; ".join(f"N {size} at D {', '.join(format_count(d) for d in sorted(ds))}" for size, ds in budgets.items())
        sentences.append(f"Left out as the most expensive: {each}.")
    gone = {cell.key for cell in out}
    before, after = _answers(cells, settings), _answers([cell for cell in cells if cell.key not in gone], settings)
    lost = [question for question, can in before.items() if can and not after[question]]
    kept = [question for question, can in after.items() if can]
    if lost:
        sentences.append(f"No longer answered: {'; '.join(lost)}.")
    if kept:
        sentences.append(f"Still answered: {'; '.join(kept)}.")
    return sentences


def _answers(cells: Sequence[Cell], settings: Settings) -> dict[str, bool]:
    """The questions that a grid is made for, and whether these cells have the points that each needs."""
    corpus = cells[0].corpus_hash if cells else ""  # the sizes of another vocabulary have another N
    places = {(cell.num_params(settings.count), cell.tokens) for cell in cells if cell.corpus_hash == corpus}
    seeds = {(cell.corpus_hash, _size(cell), cell.tokens, cell.seed) for cell in cells}
    sizes, budgets = {n for n, _ in places}, {d for _, d in places}
    declared = {declared_budget(settings, cell) for cell in cells}
    is_curves = settings.sweep.design == "isoflop"
    return {
        "how L falls with N, at the largest D": sum(d == max(budgets) for _, d in places) >= CORE,
        "how L falls with D, at the largest N": sum(n == max(sizes) for n, _ in places) >= CORE,
        "the joint law L(N, D)": min(len(sizes), len(budgets)) >= CORE and len(places) > max(len(sizes), len(budgets)),
        "how the best N grows with C, by minima of three budgets": is_curves and len(declared) >= CORE,
        "how much L differs between seeds": len(seeds) > len({place[:-1] for place in seeds}),
    }


def exceeded(cells: Sequence[Cell], limits: Sequence[Limit], directory: str) -> list[str]:
    """The limits that the cells of a directory break, which stay whatever they cost, in sentences."""
    costs = [(limit, limit.cost(cells)) for limit in limits]
    return [
        f"{limit.name} = {limit.value:g} is exceeded: the cells of {directory}, which stay, come to {limit.amount(cost)}."
        for limit, cost in costs
        if cost > limit.value
    ]
