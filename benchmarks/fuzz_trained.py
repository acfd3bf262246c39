"""Priors, emulators, downscalers and checkpoints, untrained and tiny, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fuzz_target import folder_in, target


def _state() -> tuple[Any, Any]:
    from skyweave.state import StateSpec, Variable
    from skyweave.transform import Log10Standardise, Standardise, StateTransform

    spec = StateSpec((Variable("t2m", "K", bounds=(150.0, 350.0)), Variable("aod", "1")), (1.0, 1.0))
    return spec, StateTransform((Standardise(280.0, 10.0), Log10Standardise(-1.0, 0.3, 1e-3)))


def _prior(parent: Path) -> list[Path]:
    import torch

    from skyweave.covariance.by_noise_level import ErrorCovarianceModel, default_levels
    from skyweave.diffusion.network import Architecture
    from skyweave.grid import Grid
    from skyweave.prior.conditioning import Conditioning, StaticField
    from skyweave.prior.storage import LearntPrior, build_network, save_prior

    spec, transform = _state()
    levels = default_levels(3)
    kernels = torch.zeros(3, 2, 2, 8, 8)
    kernels[:, 0, 0, 0, 0] = kernels[:, 1, 1, 0, 0] = 1
    surface = StaticField(Grid(np.arange(40.0, 44), np.arange(0.0, 6)), np.ones((4, 6), np.float32))
    for k, norm in enumerate(("cell", "group")):
        conditioning = Conditioning(
            ("latitude", "elevation") if k else ("hour",), {"elevation": surface} if k else {}
        )
        network = build_network(
            2, conditioning.count, Architecture(4, (1, 2), 1, attention=(1,) if k else (), norm=norm), 1.0
        )
        extra = ErrorCovarianceModel(levels, kernels).to_tensors()
        metadata = {
            "train": ["2014-01-01", "2014-12-31"],
            "calibration": {"spread_factor": 1.1, "kinds": {}},
            "steps": 10,
        }
        prior = LearntPrior(spec, transform, (8, 8), network.eval(), conditioning, metadata, extra)
        save_prior(prior, folder_in(parent, f"{k}") / "p.safetensors")
    return [parent / "0", parent / "1"]


@target("prior", _prior)
def _read_prior(folder: Path) -> None:
    import torch

    from skyweave.cli.describe import describe_prior
    from skyweave.grid import Grid
    from skyweave.posterior.background import bind
    from skyweave.prior.storage import open_prior

    prior = open_prior(folder / "p.safetensors")
    describe_prior(prior, full=True)
    times = np.array(["2020-01-01"], "datetime64[ns]")
    background = bind(prior, Grid(np.arange(40.0, 44), np.arange(0.0, 6)), times)
    x = torch.zeros(1, *background.shape)
    prior.transform.inverse(background(x, torch.tensor(1.0)))
    background.covariance(1.0) @ x


def _emulator(parent: Path) -> list[Path]:
    import torch

    from skyweave.emulate.config import NetworkConfig
    from skyweave.emulate.emulator import Emulator, save_emulator
    from skyweave.emulate.networks import build_integrator
    from skyweave.emulate.simple import Climatology
    from skyweave.grid import Grid
    from skyweave.prior.conditioning import Conditioning

    spec, transform = _state()
    grids = (
        Grid(np.arange(40.0, 44), np.arange(0.0, 6)),
        Grid(np.arange(-78.75, 90, 22.5), np.arange(0, 360, 22.5)),
    )
    for k, grid in enumerate(grids):
        settings = NetworkConfig(width=4, layers=1, multipliers=(1, 2))
        conditioning = Conditioning(("insolation",) if k else ())
        ones = torch.ones(2)
        made = build_integrator(grid, 2, conditioning.count, settings, (0 * ones, ones)).eval()
        climate = Climatology(spec, grid, 21600.0, (0, 0), torch.zeros(1, 2, *grid.shape), "standard")
        hindcast = {
            "variables": ["t2m", "aod"], "lead": [21600.0], "bias": [[0.0, 0.0]], "deviation": [[1.0, 0.1]],
            "length_km": [[100.0, 100.0]], "shape": [["exponential", "exponential"]], "starts": 4, "period": ["", ""],
        }  # fmt: skip
        metadata = {"training_range": ["2001-01-01", "2001-12-31"], "hindcast": hindcast}
        emulator = Emulator(
            spec=spec,
            grid=grid,
            time_step=21600.0,
            transform=transform,
            integrator=made,
            settings=settings,
            conditioning=conditioning,
            climatology=climate,
            residuals=torch.zeros(2, 2, *grid.shape),
            metadata=metadata,
        )
        save_emulator(emulator, folder_in(parent, f"{k}") / "e.safetensors")
    return [parent / "0", parent / "1"]


@target("emulator", _emulator)
def _read_emulator(folder: Path) -> None:
    import torch

    from skyweave.cli.emulate import described
    from skyweave.emulate.emulator import open_emulator

    emulator = open_emulator(folder / "e.safetensors")
    described(emulator)
    state = torch.full((1, len(emulator.spec.variables), *emulator.grid.shape), 0.5)
    emulator.step(state, np.datetime64("2020-01-01", "ns"))


def _sample(channels: Any, batch: int = 1) -> Any:
    import torch

    from skyweave.downscale.data.samples import Sample

    def some(*shape: int) -> Any:
        return torch.zeros(batch, *shape)

    c, size = channels, (8, 8)
    return Sample(
        some(c.lags, c.fine, *size), some(c.lags, c.coarse, *size), some(c.coarse, *size), some(c.static, *size),
        some(c.calendar), some(c.fine, *size),
    )  # fmt: skip


def _downscaler(parent: Path) -> list[Path]:
    from skyweave.downscale.models.encoder import TransferEncoder
    from skyweave.downscale.models.registry import DOWNSCALERS, build_downscaler
    from skyweave.downscale.models.target_form import Channels
    from skyweave.downscale.settings import ModelSection, NetworkSection
    from skyweave.downscale.storage import TrainedDownscaler, save_downscaler

    channels, out = Channels(1, 1, 2, 3, 6, (0,)), []
    network = NetworkSection(base=4, multipliers=(1, 2))
    for name in ("ddpm", "unet", "vae"):
        encoder = TransferEncoder(DOWNSCALERS[name].encoder_kind, 2, 1, network.architecture())
        model = build_downscaler(
            name, channels, ModelSection(network=network, projection=2, latent=1), encoder
        ).eval()
        transform = {"transforms": [{"kind": "standardise", "mean": 0.0, "std": 1.0}]}
        metadata = {
            "variables": ["AOD"], "coarse_variables": ["AOD"], "area": "all", "season": "all",
            "grid": {"lat": [40.0, 41.0], "lon": [0.0, 1.0], "lat_name": "lat", "lon_name": "lon"},
            "training_days": ["2005-06-01", "2005-12-31"], "scaler": {"fine": transform, "coarse": transform},
            "calendar": {"first": "2005-06-01", "last": "2005-12-31", "hold": True, "hourly": False},
            "training": {"epochs": 3, "minutes": 1.0, "ended": "done", "loss": 0.5, "best_epoch": 2},
        }  # fmt: skip
        save_downscaler(TrainedDownscaler(model, (8, 8), metadata), folder_in(parent, name) / "d.safetensors")
        out.append(parent / name)
    return out


@target("downscaler", _downscaler)
def _read_downscaler(folder: Path) -> None:
    from skyweave.cli.downscale import described
    from skyweave.downscale.settings import InferenceSection
    from skyweave.downscale.storage import open_downscaler
    from skyweave.io.tensors import read_tensors

    trained = open_downscaler(folder / "d.safetensors")
    described(read_tensors(folder / "d.safetensors", "a downscaler")[0], 1)
    if max(vars(trained.model.channels)["lags"], trained.model.channels.coarse) < 20:
        trained.model.predict(_sample(trained.model.channels), sampling=InferenceSection(steps=2))


def _checkpoint(parent: Path) -> list[Path]:
    import torch

    from skyweave.learn.checkpoint import Progress, save_checkpoint

    module, optimiser = _training()
    module(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    state = module.state_dict()
    for k in range(2):
        path = folder_in(parent, f"{k}") / "checkpoint.safetensors"
        save_checkpoint(
            path,
            Progress(3, 1.0, 0.5, 2),
            {"batch": 4, "data": {"paths": ["a"]}},
            state,
            state,
            state if k else None,
            optimiser,
        )
    return [parent / "0", parent / "1"]


def _training() -> tuple[Any, Any]:
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    return module, torch.optim.Adam(module.parameters())


@target("checkpoint", _checkpoint)
def _read_checkpoint(folder: Path) -> None:
    from skyweave.learn.checkpoint import load_checkpoint

    saved = load_checkpoint(folder / "checkpoint.safetensors")
    saved.restore(*_training())
