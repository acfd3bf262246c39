"""Units on the workers of dask.distributed: of this machine, or of any scheduler that runs."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from queue import Empty
from queue import Queue as Mail
from typing import Any, ClassVar

from skyweave.engine.here import InProcess
from skyweave.engine.job import Engine, Job, Named, Queue, U, cause_of
from skyweave.engine.worker import TOPIC, Bundle, Outcome, carry_out, pack, version_here
from skyweave.errors import SkyweaveError
from skyweave.io.progress import Progress
from skyweave.io.regions import Regions

__all__ = ["ClusterLostError", "OnCluster", "cluster_text", "engine_of"]

LOCAL, SCHEDULER = re.compile(r"local:([1-9]\d{0,3})"), re.compile(r"(tcp|tls|ucx|ws|wss)://\S+")
CONNECT, WORKERS = 20, 600
"""Seconds in which a scheduler has to answer, and to have a worker."""
SHARES = 4
"""Bundles that each worker gets at least, where there are units enough."""
MOST = 64
"""Units of a bundle, at most."""


class ClusterLostError(SkyweaveError):
    """The scheduler went away in the middle of a run."""

    status: ClassVar[int] = 3


def cluster_text(value: str) -> str:
    """Where units are carried out, checked.

    Raises:
        ValueError: neither ``local:N`` nor the address of a scheduler.
    """
    if LOCAL.fullmatch(value) or SCHEDULER.fullmatch(value):
        return value
    raise ValueError(
        f"{value!r} is no cluster: give local:N for N workers on this machine, or the address of a running scheduler "
        "of dask, as tcp://host:8786"
    )


@contextmanager
def engine_of(cluster: str | None) -> Iterator[Engine]:
    """What carries units out, connected: this process where no cluster is named.

    Raises:
        SkyweaveError: dask.distributed is not installed, no scheduler answers, no worker comes, or workers have another
            version of skyweave.
    """
    if cluster is None:
        yield InProcess()
        return
    try:
        import distributed
    except ImportError:
        raise SkyweaveError(
            f"cluster {cluster}: needs dask.distributed, which is not installed; pip install 'skyweave[cluster]'"
        ) from None
    local = LOCAL.fullmatch(cluster)
    address: Any = cluster
    if local:
        address = distributed.LocalCluster(
            n_workers=int(local[1]),
            threads_per_worker=1,
            memory_limit=0,  # the plan is made for the memory, and units are not to be paused
            dashboard_address=None,
            silence_logs=50,
        )
    try:
        with _client(distributed, address, cluster) as client:
            threads = max(1, (os.cpu_count() or 1) // int(local[1])) if local else None
            yield OnCluster(client, cluster, threads)
    finally:
        if local:
            address.close()


@contextmanager
def _client(distributed: Any, address: Any, cluster: str) -> Iterator[Any]:
    try:
        client = distributed.Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise SkyweaveError(
            f"cluster {cluster}: no scheduler answers there ({error}); start one (dask scheduler), or give local:N"
        ) from error
    try:
        try:
            client.wait_for_workers(1, timeout=WORKERS)
        except TimeoutError:
            raise SkyweaveError(
                f"cluster {cluster}: the scheduler has no worker; start some (dask worker {cluster})"
            ) from None
        _check_versions(client, cluster)
        yield client
    finally:
        client.close()


def _check_versions(client: Any, cluster: str) -> None:
    found = client.run(version_here, on_error="return")
    own = version("skyweave")
    wrong = {w: v for w, v in found.items() if v != own}
    if wrong:
        worker, what = next(iter(wrong.items()))
        told = f"skyweave {what}" if isinstance(what, str) else f"no skyweave that works ({cause_of(what)})"
        raise SkyweaveError(
            f"cluster {cluster}: {len(wrong)} of {len(found)} workers have another version than {own} here: "
            f"{worker} has {told}; install the same everywhere"
        )


class OnCluster:
    """The engine of a cluster: bundles of neighbouring units go to workers, which write them themselves.

    Args:
        client: of dask.distributed, connected.
        name: of the cluster, for messages.
        threads: of each worker; its own number where it is None.
    """

    def __init__(self, client: Any, name: str, threads: int | None = None) -> None:
        self.client, self.name, self.threads = client, name, threads

    def run(self, job: Job[U], queue: Queue[U], regions: Regions, bar: Progress) -> None:
        """Carry out what is in the queue.

        Raises:
            ClusterLostError: the scheduler went away.
        """
        try:
            Sender(self, job, queue, regions, bar).run()
        except Exception as error:
            # What a client that is closed raises is of many kinds.
            if self.client.status == "running" or isinstance(error, SkyweaveError):
                raise
            raise lost(self.name, regions) from error


def lost(cluster: str, regions: Regions) -> ClusterLostError:
    """The error of a scheduler that is gone."""
    kept = regions.kept_in
    told = f"; what is finished is kept in {kept}, and the same command goes on with the rest" if kept else ""
    return ClusterLostError(f"cluster {cluster}: its scheduler went away{told}")


class Sender:
    """One run on a cluster: what is under way, and what comes back."""

    def __init__(
        self, engine: OnCluster, job: Job[Any], queue: Queue[Any], regions: Regions, bar: Progress
    ) -> None:
        self.engine, self.client, self.job, self.queue = engine, engine.client, job, queue
        self.regions, self.bar = regions, bar
        self.token = uuid.uuid4().hex
        # A task and not data: where the worker that holds it is lost it is made again.
        key = f"skyweave-job-{self.token}"
        self.packed = self.client.submit(bytes, pack(job), key=key, pure=False)
        self.mail: Mail[Any] = Mail()
        self.under_way: dict[Any, tuple[Named, ...]] = {}
        self.again: list[tuple[Named, str]] = []
        self.weights = {unit.name: unit.weight for unit in queue.left}

    def run(self) -> None:
        """Send units and take in what comes back until none is left."""
        self.client.subscribe_topic(TOPIC, self._heard)
        try:
            while self._send():
                self._receive()
        finally:
            if self.client.status == "running":
                self.client.unsubscribe_topic(TOPIC)
                self.client.cancel(list(self.under_way), force=True)

    def _heard(self, event: tuple[Any, Any]) -> None:
        run, unit = event[1]
        if run == self.token:
            self.mail.put(unit)

    def _send(self) -> bool:
        """Keep all workers busy; whether anything is under way."""
        workers = list(self.client.scheduler_info(n_workers=-1)["workers"])
        while len(self.under_way) < 2 * max(1, len(workers)):
            if self.again:
                unit, failed_on = self.again.pop(0)
                self._submit((unit,), [w for w in workers if w != failed_on])
                continue
            share = len(self.queue.left) // (SHARES * max(1, len(workers)))
            here = self.regions.writer is None
            units = self.queue.take(max(1, min(MOST, share)), together=not here)
            if not units:
                break
            own = [unit for unit in units if here and unit.needs]
            self._here(own)  # what they read is held here
            if others := tuple(unit for unit in units if unit not in own):
                self._submit(others, [])
        return bool(self.under_way)

    def _here(self, units: list[Any]) -> None:
        left = Queue(units, self.regions.done)
        InProcess().run(self.job, left, self.regions, self.bar)
        self.queue.done |= left.done
        self.queue.failures += left.failures

    def _submit(self, units: tuple[Named, ...], workers: list[str]) -> None:
        bundle = Bundle(self.token, units, self.regions.writer, version("skyweave"), self.engine.threads)
        future = self.client.submit(
            carry_out, bundle, self.packed, pure=False, workers=workers or None, allow_other_workers=bool(workers),
            resources=self._resources() or None,
        )  # fmt: skip
        self.under_way[future] = units
        future.add_done_callback(self.mail.put)

    def _resources(self) -> dict[str, int]:
        """One unit at a time for each accelerator, where the workers say that they have some."""
        found = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return {"GPU": 1} if found and all("GPU" in worker["resources"] for worker in found) else {}

    def _receive(self) -> None:
        """Wait for the next word from the workers."""
        try:
            item = self.mail.get(timeout=1.0)
        except Empty:
            self._check_alive()
            return
        if isinstance(item, str):
            self._count(item)
            return
        units = self.under_way.pop(item, ())
        if item.status == "finished":
            self._take_in(item, units)
        elif item.status == "error":
            self._failed(units, item.exception())
        else:  # cancelled or lost
            self._check_alive()
            for unit in units:
                self._again(unit, "the cluster lost it", "")

    def _take_in(self, future: Any, units: tuple[Named, ...]) -> None:
        try:
            outcomes: list[Outcome] = future.result()
        except Exception as error:  # the worker was lost with what it had to send back
            self._check_alive()
            self._failed(units, error)
            return
        for unit, one in zip(units, outcomes, strict=True):
            if one.note is None:
                if one.cause:
                    self._again(unit, one.cause, one.where)
                else:
                    self.queue.back(unit)
                continue
            if self.regions.writer is None:
                for fields, region in one.pieces:
                    self.regions.put(fields, region)
            self.regions.marked_elsewhere(unit.name, one.note)
            self.queue.finished(unit)
            self._count(unit.name)

    def _failed(self, units: tuple[Named, ...], error: BaseException) -> None:
        """A bundle whose worker was lost too often, or that could not begin."""
        kind = type(error).__name__
        cause = (
            "the workers that computed it died one after the other; it may need more memory than they have"
            if kind == "KilledWorker"
            else cause_of(error)
        )
        for unit in units:
            self._again(unit, cause, "")

    def _again(self, unit: Named, cause: str, where: str) -> None:
        if self.queue.failed(unit, cause, where):
            self.bar.say(f"{unit.name} failed and is tried elsewhere: {cause}")
            self.again.append((unit, where))
        else:
            self.bar.say(f"{unit.name} failed: {cause}")

    def _count(self, name: str) -> None:
        # Told twice: when a unit is done, and when its bundle is.
        if weight := self.weights.pop(name, 0.0):
            self.bar.to(self.bar.done + weight)

    def _check_alive(self) -> None:
        if self.client.status in ("closing", "closed"):
            raise lost(self.engine.name, self.regions)
