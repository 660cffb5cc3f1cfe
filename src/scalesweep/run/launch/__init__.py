"""Launchers start workers and watch the store until nothing is left to measure; what is done, the store decides."""

from collections.abc import Callable, Mapping, Sequence

from scalesweep.files import plain_storage_errors
from scalesweep.run.launch.inline import run_inline
from scalesweep.run.launch.local import join, run_local
from scalesweep.run.launch.monitor import Monitor
from scalesweep.run.launch.ray import run_ray
from scalesweep.run.launch.slurm import run_slurm
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings

__all__ = ["LAUNCHERS", "Launcher", "join", "launch"]
Launcher = Callable[[Store, Settings, str, Monitor], None]
"""Takes the store, the settings, cpu or cuda, and a monitor, and returns when every cell is finished or failed."""
LAUNCHERS: Mapping[str, Launcher] = {"inline": run_inline, "local": run_local, "slurm": run_slurm, "ray": run_ray}


def launch(store: Store, settings: Settings, device: str, monitor: Monitor, together: Sequence[str] = ()) -> None:
    """Measure what is not yet measured, by the launcher that the settings name.

    Args:
        store: the sweep's directory, created.
        settings: as composed.
        device: cpu or cuda.
        monitor: is told of the cells' states.
        together: keys of cells that several GPUs train together first; launcher=local alone heeds it.

    Raises:
        StoreError: the directory is full, read-only or gone, or no worker can be started.
        SpecError: the launcher's cluster is not there.
        KeyboardInterrupt: after the workers have written their checkpoints and released their claims; those of a Slurm cluster
            go on.
    """
    with plain_storage_errors(store.directory):
        if settings.launcher.name == "local":
            run_local(store, settings, device, monitor, together)
        else:
            LAUNCHERS[settings.launcher.name](store, settings, device, monitor)
