"""The laws of units, over everything that carries them out."""

import numpy as np
import pytest
import xarray as xr
from distributed import LocalCluster

from engine_cases import UNITS, Powers, run, same
from scene_cases import place, seen_at, white_prior
from skyweave import GridObservation, reconstruct, sample
from skyweave.engine import cluster, worker
from skyweave.engine.cluster import ClusterLostError, engine_of
from skyweave.engine.job import FAILURES, TRIES, FailedUnitsError, Queue
from skyweave.errors import SkyweaveError
from skyweave.io.regions import Regions
from skyweave.prior.storage import save_prior
from skyweave.reconstruction.settings import Settings


@pytest.fixture(scope="module")
def scheduler():
    """Two workers of one thread, which all tests share."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=None, silence_logs=50
    ) as made:
        yield made.scheduler_address


@pytest.fixture(params=["here", "cluster"])
def engine(request):
    """Every engine."""
    address = None if request.param == "here" else request.getfixturevalue("scheduler")
    with engine_of(address) as made:
        yield made


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "tries"
    made.mkdir()
    return made


@pytest.mark.parametrize("name", ["out.zarr", "out.nc", None])
def test_every_engine_gives_the_same(engine, folder, tmp_path, name):
    path = None if name is None else tmp_path / name
    same(run(Powers(folder), engine, path).load())
    assert Powers(folder).tried() == list(range(6))


def test_a_unit_that_fails_once_is_tried_again(engine, folder, tmp_path):
    job = Powers(folder, once=(3,))
    same(run(job, engine, tmp_path / "out.zarr").load())
    assert job.tried() == [0, 1, 2, 3, 3, 4, 5]


def test_of_a_unit_that_fails_each_time_the_cause_is_told_and_the_rest_is_written(engine, folder, tmp_path):
    path = tmp_path / "out.zarr"
    job = Powers(folder, always=(3,))
    with pytest.raises(
        FailedUnitsError, match=r"1 of 9 units failed\n  time 3.*: RuntimeError: time 3 cannot"
    ) as told:
        run(job, engine, path)
    assert told.value.status == 3
    assert "out.zarr.partial" in str(told.value)
    assert job.tried() == [0, 1, 2, *[3] * TRIES, 4, 5]
    # The same command computes what is missing, and nothing else.
    same(run(Powers(folder), engine, path).load())
    assert job.tried() == [0, 1, 2, *[3] * (TRIES + 1), 4, 5]


def test_where_all_fail_the_run_ends(engine, folder, tmp_path):
    job = Powers(folder, always=tuple(range(6)))
    with pytest.raises(FailedUnitsError, match=r"more were not begun|units failed"):
        run(job, engine, tmp_path / "out.zarr")
    assert TRIES * FAILURES <= len(job.tried()) <= TRIES * 6


def test_a_worker_that_is_killed_loses_nothing(scheduler, folder, tmp_path):
    job = Powers(folder, dies=(2,))
    with engine_of(scheduler) as made:
        same(run(job, made, tmp_path / "out.zarr").load())
    assert job.tried().count(2) == 2


def test_a_unit_waits_for_what_it_needs():
    queue = Queue(UNITS, set())
    assert [u.name for u in queue.take(9, together=False)] == [f"time {k}" for k in range(6)]
    assert not queue.take()
    queue.done |= {"time 0", "time 1", "time 3"}
    assert [u.name for u in queue.take(9)] == ["mean 0"]
    assert [u.name for u in Queue(UNITS, set()).take(4)] == ["time 0", "time 1", "mean 0", "time 2"]


def test_workers_of_another_version_are_refused(scheduler, monkeypatch):
    monkeypatch.setattr(cluster, "version", lambda name: "0.0.1")
    with (
        pytest.raises(SkyweaveError, match=r"(\d) of \1 workers .*0\.0\.1 here: .* has skyweave") as told,
        engine_of(scheduler),
    ):
        pass
    assert told.value.status == 2


def test_a_cluster_that_is_none_is_refused_before_anything_is_opened(monkeypatch):
    with pytest.raises(SkyweaveError, match=r"local:N for N workers .* tcp://host:8786"):
        Settings(cluster="slurm")
    monkeypatch.setattr(cluster, "CONNECT", 1)
    with pytest.raises(SkyweaveError, match="no scheduler answers there") as told:
        reconstruct("no.safetensors", [], cluster="tcp://127.0.0.1:9")
    assert told.value.status == 2


def test_a_scheduler_that_goes_away_is_told(folder, tmp_path):
    with (
        LocalCluster(
            n_workers=1, processes=False, dashboard_address=":0", silence_logs=50, memory_limit=0
        ) as made,
        engine_of(made.scheduler_address) as engine,
    ):
        engine.client.close()
        with pytest.raises(
            ClusterLostError, match=r"went away; what is finished is kept in .*partial"
        ) as told:
            run(Powers(folder), engine, tmp_path / "out.zarr")
    assert told.value.status == 3


def test_a_run_that_has_ended_or_lies_elsewhere_is_not_gone_on_with(tmp_path):
    with Regions(
        xr.Dataset({"x": ("t", np.zeros(2))}), tmp_path / "out.zarr", {"a": 1}, message="test"
    ) as regions:
        regions.writer.check_wanted()
    with pytest.raises(SkyweaveError, match="has ended"):
        regions.writer.check_wanted()
    lost = worker.RegionWriter(tmp_path / "none.zarr", {}, "", {})
    with pytest.raises(SkyweaveError, match="a disk that all of them share"):
        lost.check_wanted()


def test_fields_of_a_cluster_are_those_of_one_process(scheduler, tmp_path):
    like = place(2)
    path, seen = tmp_path / "prior.safetensors", tmp_path / "seen.nc"
    save_prior(white_prior(), path)
    seen_at(like).to_netcdf(seen)
    data = xr.open_dataset(seen, chunks={"time": 1}).a
    call = {"members": 2, "batch": 1, "steps": 4, "progress": False}
    alone = reconstruct(path, GridObservation(data, error=1.0), like=like, **call)
    spread = reconstruct(
        path,
        GridObservation(data, error=1.0),
        like=like,
        out=tmp_path / "out.zarr",
        cluster=scheduler,
        **call,
    )
    for name in alone.data_vars:
        np.testing.assert_array_equal(alone[name], spread[name])
    assert alone.attrs["residuals"] == spread.attrs["residuals"]
    drawn = [sample(path, like, cluster=where, **call) for where in (None, scheduler)]
    np.testing.assert_array_equal(drawn[0].a, drawn[1].a)
