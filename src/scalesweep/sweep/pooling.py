"""The pool of a sweep as the command sees it that starts the workers, and those who read what they measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.plan.grid import Device
from scalesweep.plan.plan import Plan
from scalesweep.run.launch.device import name_of_device, num_gpus
from scalesweep.run.store.pool import Pool, foreign_entry, is_pooled, pool_of, take_from_pool
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings
from scalesweep.units import plural


def keys_present(store: Store) -> list[str]:
    """Keys of the cells that the directory holds; none where it holds no sweep yet."""
    return store.plan_file.keys() if (store.directory / "sweep.json").is_file() else []


def pool_here(settings: Settings, device: Device) -> Pool | None:
    """The pool of a sweep that is measured on this machine; None where it has none, or others train, who look there themselves.

    Raises:
        SpecError: store.pool is no directory.
    """
    if settings.store.pool is None:
        return None
    directory = Path(settings.store.pool)
    if directory.exists() and not directory.is_dir():
        raise SpecError(f"store.pool = {str(directory)!r} is a file; it must be a directory, or a name where one can be made.")
    if strange := foreign_entry(directory):
        raise SpecError(
            f"store.pool = {str(directory)!r} holds {strange!r}, which is of no pool; name a directory for the pool alone."
        )
    if settings.launcher.name in ("slurm", "ray") or (device == "cuda" and num_gpus() == 0):
        return None
    return pool_of(settings, *name_of_device(device))


def take_here(store: Store, plan: Plan, settings: Settings, device: Device) -> str:
    """Take the cells that the pool holds before workers are started for the others; what was done, in a line."""
    pool = pool_here(settings, device)
    if pool is None:
        return ""
    try:
        pool.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(
            f"store.pool = {str(pool.directory)!r} cannot be made ({error.strerror}); name a place that can be written."
        ) from None
    if not pool.serves:
        return f"No cell is taken from the pool {pool.directory}: it holds no weights, which train.keep_weights=true asks for."
    taken = take_from_pool(store, pool, plan, [cell for cell in plan.cells if not store.is_finished(cell.key)])
    number = plural(len(taken), "cell") if taken else "No cell"
    return f"{number} taken from the pool {pool.directory}, measured {_in_words(pool)}."


def pooled_keys(plan: Plan, settings: Settings, device: Device) -> tuple[list[str], str]:
    """Keys of the cells that the pool would serve on this machine, and what to say of them; nothing where there is no pool.

    A budget counts them all the same: which cells a sweep has must not depend on what a pool happens to hold.
    """
    if (pool := pool_here(settings, device)) is None or not pool.serves:
        return [], ""
    keys = [cell.key for cell in plan.cells if pool.holds(cell)]
    return keys, f"{len(keys)} of {len(plan.cells)} cells stand in the pool {pool.directory}, measured {_in_words(pool)}"


def _in_words(pool: Pool) -> str:
    return f"by torch {pool.conditions.torch} on {pool.conditions.device}"


def pool_rows(records: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Row of the provenance that names the cells which came from a pool; none where no cell did."""
    pooled = [key for key, record in records.items() if is_pooled(record)]
    if not pooled:
        return {}
    pools = ", ".join(sorted({records[key]["where"]["pool"] for key in pooled}))
    return {"from the pool": f"{len(pooled)} of {len(records)} measured cells, from {pools}: {', '.join(pooled)}"}
