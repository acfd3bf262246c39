"""What a run is said to cost before it is begun."""

import itertools

import pytest
import torch

from scene_cases import place, seen_at, white_prior
from skyweave.grid import Grid
from skyweave.observe.observation import GridObservation
from skyweave.posterior.guidance import GUIDANCE
from skyweave.posterior.guidance.base import linearise
from skyweave.reconstruction.costs import calibrated
from skyweave.reconstruction.opening import open_reconstruction
from skyweave.reconstruction.plan import DIFFERENTIATING, graph_bytes
from skyweave.reconstruction.settings import Settings

GRID = Grid.from_dataset(place())


def ready(**settings):
    observed = GridObservation(seen_at(place(3)), error=1.0)
    return open_reconstruction(white_prior(), observed, Settings(members=6, steps=4, batch=2, **settings))


def test_seconds_and_disk_follow_from_one_evaluation():
    ticks = itertools.count(0, 10)  # two evaluations in ten seconds
    found = calibrated(ready(), clock=lambda: next(ticks))
    assert (found.evaluation, found.members, found.frames) == (5.0, 2, 1)
    # Nine units of two members and one time, four evaluations each.
    assert found.seconds == 9 * 4 * 5.0
    # Six members, mean, spread and three quantiles in single precision, and a byte of provenance.
    assert found.disk == 3 * GRID.size * (11 * 4 + 1)
    assert "time          about 3.0 min, from evaluations of 2 members x 1 times, 5 s each" in str(found)
    ticks = itertools.count(0, 10)
    shared = calibrated(ready(cluster="local:2"), clock=lambda: next(ticks))
    assert "3.0 min on one worker, 90 s on 2" in str(shared)


def test_memory_knows_which_methods_keep_the_graph(monkeypatch):
    plain = ready().plan.peak_bytes
    for name, method in GUIDANCE.items():
        used = []

        def noted(*given, used=used):
            used.append(given)
            return linearise(*given)

        monkeypatch.setattr(f"{method.__module__}.linearise", noted, raising=False)
        made = ready(method=name)
        made.method.guided(made.problem(0, 1)).parts(torch.zeros(2, 1, 1, *GRID.shape), torch.tensor(1.0))
        assert bool(used) == (name in DIFFERENTIATING), name
        assert (made.plan.peak_bytes > plain) == bool(used), name


def test_the_graph_is_as_large_as_it_is_said_to_be():
    prior, seen = white_prior(), {}

    def kept(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    denoiser = prior.denoiser(GRID)
    with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
        linearise(denoiser, torch.zeros(1, 1, 1, *GRID.shape), torch.tensor(1.0))
    own = {p.untyped_storage().data_ptr() for p in prior.network.parameters()}
    size = sum(count for place, count in seen.items() if place not in own)
    assert size == pytest.approx(graph_bytes(prior, 1, GRID), rel=0.35)
