"""Units in this process, one after the other."""

from __future__ import annotations

from skyweave.engine.job import Job, Queue, U, cause_of
from skyweave.errors import SkyweaveError
from skyweave.io.progress import Progress
from skyweave.io.regions import Regions

__all__ = ["InProcess"]


class InProcess:
    """The engine of a run without a cluster."""

    def run(self, job: Job[U], queue: Queue[U], regions: Regions, bar: Progress) -> None:
        """Carry out what is in the queue; a unit that fails is tried again at once.

        Raises:
            SkyweaveError, OSError: input that cannot be used, values that are not finite, a full disk. Another try, or
                another unit, would end as this one did.
        """
        while taken := queue.take():
            unit, begun = taken[0], bar.done

            def step(share: float, begun: float = begun, weight: float = unit.weight) -> None:
                bar.to(begun + weight * min(1.0, share))

            while True:
                try:
                    note = job.work(unit, regions, step)
                    regions.mark(unit.name, note)
                except (SkyweaveError, OSError):
                    raise
                except Exception as error:
                    queue.error = error
                    if queue.failed(unit, cause_of(error)):
                        bar.say(f"{unit.name} failed and is tried again: {cause_of(error)}")
                        continue
                    bar.say(f"{unit.name} failed: {cause_of(error)}")
                else:
                    queue.finished(unit)
                    bar.to(begun + unit.weight)
                break
