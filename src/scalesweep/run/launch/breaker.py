"""Which GPUs get workers: one that fails again and again is set aside, and a cell that fails on a good one is blamed.

A worker that sees its GPU fail gives its cells back and ends (`EXIT_DEVICE`). Neither it nor the error tells whether the GPU is
broken or the cell asks for something impossible; what happens next does. The next worker on the GPU takes other cells first. If
it gets on, the GPU is good and the failure counts as a loss of its cells; if it fails as well, the GPU is set aside and the
cells are free for the others, uncounted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scalesweep.run.store.claims import Claim, DeviceFailure
from scalesweep.run.store.store import Store
from scalesweep.units import plural

FAILURES = 2
"""Of a GPU, without progress between them, after which it is set aside. A judgement: one may be a cell's fault or a cosmic
ray's."""


@dataclass
class _Trouble:
    """What is not yet laid to a GPU or to its cells."""

    failures: int = 0
    cause: str = ""
    claims: list[Claim] = field(default_factory=list)


class Breakers:
    """What every GPU of this machine has failed of since it last got on.

    Args:
        store: the sweep's directory.
        say: is told when a GPU is set aside.
    """

    def __init__(self, store: Store, say: Callable[[str], None]) -> None:
        self._store, self._say = store, say
        self._troubles: dict[str, _Trouble] = {}

    def is_aside(self, device: str) -> bool:
        """Whether the device gets no more workers."""
        return device in self._troubles and self._troubles[device].failures >= FAILURES

    def last(self, device: str) -> list[str]:
        """Keys of the cells with which the device failed, for the next worker to take last."""
        return sorted({claim.key for claim in self._troubles.get(device, _Trouble()).claims})

    def failed(self, device: str, failures: Sequence[DeviceFailure], cause: str) -> None:
        """Note that a worker ended as its device failed.

        Args:
            device: such as cuda:1.
            failures: what its claims say; none where it had no cell yet.
            cause: what it said then.
        """
        if any(failure.advanced for failure in failures):
            self.got_on(device)
        trouble = self._troubles.setdefault(device, _Trouble())
        trouble.failures += 1
        trouble.cause = failures[0].cause if failures else cause
        trouble.claims += [failure.claim for failure in failures]
        if trouble.failures == FAILURES:
            keys = self.last(device)
            cells = f", with {'cell' if len(keys) == 1 else 'cells'} {', '.join(keys)}" if keys else ""
            self._say(f"{device} is set aside: it failed {FAILURES} times without progress{cells}, last: {trouble.cause}")

    def got_on(self, device: str) -> None:
        """Note that the device works: what it failed of was its cells' fault."""
        trouble = self._troubles.pop(device, _Trouble())
        for claim in trouble.claims:
            self._store.claims.blame(claim, trouble.cause)

    def blame_all(self) -> None:
        """Lay every failure to its cells, where nobody will ever know better and somebody may try them again and again."""
        for device in [*self._troubles]:
            trouble = self._troubles[device]
            for claim in trouble.claims:
                self._store.claims.blame(claim, trouble.cause)
            trouble.claims = []

    def sentence(self, left: int) -> str:
        """Why no GPU is left, and what to do."""
        causes = "; ".join(f"{device}: {trouble.cause}" for device, trouble in sorted(self._troubles.items()))
        return (
            f"no GPU of this machine is left to train on ({causes}); {plural(left, 'cell')} not measured, what was measured is "
            "kept. `scalesweep check device` looks at the GPUs; the same command goes on when one works, and train.device=cpu "
            "trains on the CPU."
        )
