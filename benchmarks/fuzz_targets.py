"""What is fuzzed: each reader with small valid inputs, made on the spot, and how an input is read."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from mutators import Files

__all__ = ["TARGETS", "Target", "files_in"]


@dataclass(frozen=True)
class Target:
    """One reader.

    Args:
        name: of it.
        seeds: writes valid inputs into folders of the one it is given, and returns them.
        read: opens what lies in a folder as a command would, and looks at the values.
        needs: module that must be there; without it the reader is left out, which is told.
    """

    name: str
    seeds: Callable[[Path], list[Path]]
    read: Callable[[Path], None]
    needs: str | None = None


TARGETS: dict[str, Target] = {}


def target(name: str, seeds: Callable[[Path], list[Path]], needs: str | None = None) -> Callable[[Any], Any]:
    """Enter a function that reads a folder."""

    def enter(read: Callable[[Path], None]) -> Callable[[Path], None]:
        TARGETS[name] = Target(name, seeds, read, needs)
        return read

    return enter


def files_in(folder: Path) -> Files:
    """Names below a folder and what they hold."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _folder(parent: Path, name: str) -> Path:
    path = parent / name
    path.mkdir()
    return path


# ---- gridded files


def _fields(packed: bool = False, times: int = 3) -> xr.Dataset:
    rng = np.random.default_rng(0)
    time = np.datetime64("2020-01-01", "ns") + np.arange(times) * np.timedelta64(6, "h")
    ds = xr.Dataset(
        {
            "t2m": (
                ("time", "lat", "lon"),
                280 + rng.standard_normal((times, 4, 6)),
                {"units": "K", "long_name": "air"},
            )
        },
        {
            "time": time,
            "lat": ("lat", np.arange(40.0, 44.0), {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": ("lon", np.arange(0.0, 6.0), {"units": "degrees_east", "standard_name": "longitude"}),
        },
        {"title": "seed"},
    )
    if packed:
        ds["t2m"].encoding = {
            "dtype": "int16",
            "scale_factor": 0.01,
            "add_offset": 280.0,
            "_FillValue": -32767,
        }
    else:
        ds["t2m"] = ds["t2m"].astype(np.float32)
    return ds


def _netcdf4(parent: Path) -> list[Path]:
    out = []
    for k, packed in enumerate((False, True)):
        _fields(packed).to_netcdf(_folder(parent, f"{k}") / "a.nc", engine="h5netcdf")
        out.append(parent / f"{k}")
    levels = _fields().expand_dims(level=[500.0, 850.0]).assign_coords(valid=("time", np.arange(3.0)))
    levels["level"].attrs = {"units": "hPa", "positive": "down"}
    levels.to_netcdf(_folder(parent, "2") / "a.nc", engine="h5netcdf")
    return [*out, parent / "2"]


def _netcdf3(parent: Path) -> list[Path]:
    for k, packed in enumerate((False, True)):
        _fields(packed).to_netcdf(_folder(parent, f"{k}") / "a.nc", engine="scipy")
    return [parent / "0", parent / "1"]


def _zarr(version: int) -> Callable[[Path], list[Path]]:
    def seeds(parent: Path) -> list[Path]:
        for k, consolidated in enumerate((True, False)):
            _fields(times=2).to_zarr(
                _folder(parent, f"{k}") / "a.zarr", zarr_format=version, consolidated=consolidated
            )
        return [parent / "0", parent / "1"]

    return seeds


def _fields_of(path: Path) -> None:
    """As `skyweave check` looks at a gridded source."""
    from skyweave.cli.describe import describe_dataset
    from skyweave.grid import Grid
    from skyweave.io import open_fields

    ds = open_fields(path)
    Grid.from_dataset(ds)
    describe_dataset(ds)


@target("netcdf4", _netcdf4)
def _read_netcdf4(folder: Path) -> None:
    _fields_of(folder / "a.nc")


@target("netcdf3", _netcdf3)
def _read_netcdf3(folder: Path) -> None:
    _fields_of(folder / "a.nc")


@target("zarr2", _zarr(2))
def _read_zarr2(folder: Path) -> None:
    _fields_of(folder / "a.zarr")


@target("zarr3", _zarr(3))
def _read_zarr3(folder: Path) -> None:
    _fields_of(folder / "a.zarr")


def _goes(parent: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    for k in range(2):
        shape = (6, 8)
        aod = np.rint(rng.random(shape) * 10000).astype(np.int16)
        signed = {"_FillValue": np.int16(-1), "_Unsigned": "true", "valid_range": np.array([0, -6], np.int16)}
        angles = {"scale_factor": 5.6e-5, "units": "rad"}
        packing = {"scale_factor": np.float32(7.706e-05), "add_offset": np.float32(-0.05), "units": "1"}
        ds = xr.Dataset(
            {
                "AOD": (("y", "x"), aod, signed | packing),
                "DQF": (("y", "x"), rng.integers(0, 4, shape).astype(np.int8), {"_FillValue": np.int8(-1)}),
                "goes_imager_projection": (
                    (), np.int32(0),
                    {
                        "perspective_point_height": 35786023.0, "semi_major_axis": 6378137.0,
                        "semi_minor_axis": 6356752.31414,
                        "longitude_of_projection_origin": -75.0 - 60 * k, "sweep_angle_axis": "x",
                    },
                ),
                "t": ((), 6e8, {"units": "seconds since 2000-01-01 12:00:00", "standard_name": "time"}),
            },
            {
                "y": ("y", np.arange(shape[0], dtype=np.int16), angles | {"scale_factor": -5.6e-5, "add_offset": 0.09}),
                "x": ("x", np.arange(shape[1], dtype=np.int16), angles | {"add_offset": -0.03}),
            },
            {"platform_ID": "G16", "time_coverage_start": "2019-01-05T23:00:00.0Z"},
        )  # fmt: skip
        ds.to_netcdf(_folder(parent, f"{k}") / "a.nc", engine="h5netcdf")
    return [parent / "0", parent / "1"]


@target("goes", _goes)
def _read_goes(folder: Path) -> None:
    from skyweave.io import read_goes_aod

    read_goes_aod(folder / "a.nc", quality=2, minimum_share=0.0)


def _swath(parent: Path) -> list[Path]:
    lat, lon = np.meshgrid(np.linspace(40, 44, 7), np.linspace(0, 6, 9), indexing="ij")
    ds = xr.Dataset(
        {"aod": (("y", "x"), np.random.default_rng(0).random((7, 9)).astype(np.float32), {"units": "1"})},
        {
            "latitude": (("y", "x"), lat, {"units": "degrees_north"}),
            "longitude": (("y", "x"), lon, {"units": "degrees_east"}),
        },
    )
    ds.to_netcdf(_folder(parent, "0") / "a.nc", engine="h5netcdf")
    ds.to_netcdf(_folder(parent, "1") / "a.nc", engine="scipy")
    return [parent / "0", parent / "1"]


@target("swath", _swath)
def _read_swath(folder: Path) -> None:
    from skyweave.grid import Grid
    from skyweave.io import grid_swath
    from skyweave.io.formats import open_one

    grid_swath(open_one(str(folder / "a.nc")), "aod", Grid(np.arange(40.0, 44.0), np.arange(0.0, 6.0)))


def _g5nr(parent: Path) -> list[Path]:
    ds = _fields(times=1).isel(time=0, drop=True).rename(t2m="DUEXTTAU")
    ds.to_netcdf(_folder(parent, "0") / "c1440_NR.tavg1.20060101_0030z.nc4", engine="h5netcdf")
    return [parent / "0"]


@target("g5nr", _g5nr)
def _read_g5nr(folder: Path) -> None:
    from skyweave.io.g5nr import open_g5nr

    ds = open_g5nr(sorted(folder.glob("*.nc4")), ["DUEXTTAU"], time=("2006-01-01", "2006-01-02"))
    ds["DUEXTTAU"].values  # noqa: B018


def _forecast(parent: Path) -> list[Path]:
    ds = _fields(times=3).rename(time="lead_time", t2m="t")
    ds["lead_time"] = (
        "lead_time",
        np.array([0, 6, 12]),
        {"units": "hours", "standard_name": "forecast_period"},
    )
    ds = ds.assign_coords(init_time=np.datetime64("2020-01-01", "ns"))
    ds.to_netcdf(_folder(parent, "0") / "a.nc", engine="h5netcdf")
    return [parent / "0"]


@target("forecast", _forecast)
def _read_forecast(folder: Path) -> None:
    from skyweave.emulate.files import open_forecast
    from skyweave.state import StateSpec, Variable

    found = open_forecast(folder / "a.nc", StateSpec((Variable("t", "K"),)))
    found.at(found.init_time)


# ---- tables


_LONG = """time,lat,lon,variable,value,error,station
2020-01-01T00:00,45.0,5.0,t2m,281.0,0.5,LYON
2020-01-01T06:00,45.5,5.5,t2m,280.25,0.5,BRON
2020-01-01T06:00,46,6,slp,101325,100,GENEVA
"""
_WIDE = """station;date;latitude;longitude;t2m [K];slp [hPa]
A1;2020-01-01 00:00;45.0;5.0;281.0;1013.2
A2;2020-01-01 06:00;45.5;5.5;;1012.9
"""


def _csv(parent: Path) -> list[Path]:
    for k, text in enumerate((_LONG, _WIDE, _WIDE.replace(";", ","))):
        (_folder(parent, f"{k}") / "a.csv").write_text(text)
    return [parent / f"{k}" for k in range(3)]


@target("csv", _csv)
def _read_csv(folder: Path) -> None:
    from skyweave.cli.describe import describe_source
    from skyweave.io import read_stations
    from skyweave.observe.observation import PointObservation

    table = read_stations(folder / "a.csv")
    describe_source(PointObservation(table, error=1.0))


_AERONET = """AERONET Version 3; 
Test_Site
Version 3: AOD Level 2.0
The following data are automatically cloud cleared.
Contact: PI=Some_One; PI Email=some.one@example.org
All Points,UNITS can be found at,,, https://aeronet.gsfc.nasa.gov/new_web/units.html
"""


def _aeronet(parent: Path) -> list[Path]:
    waves = (1020, 870, 675, 500, 440, 380)
    head = ["Date(dd:mm:yyyy)", "Time(hh:mm:ss)", *(f"AOD_{w}nm" for w in waves), "440-870_Angstrom_Exponent"]
    head += [
        "Data_Quality_Level",
        "AERONET_Site_Name",
        "Site_Latitude(Degrees)",
        "Site_Longitude(Degrees)",
        "Site_Elevation(m)",
    ]
    rows = [
        ["05:01:2020", f"{10 + k // 4}:{15 * (k % 4):02d}:00",
         *(f"{0.4 * (w / 550) ** -1.3:.6f}" for w in waves), "1.3",
         "lev20", "Test_Site", "16.7325", "-22.9355", "60.0"]
        for k in range(8)
    ]  # fmt: skip
    text = _AERONET + "\n".join(",".join(row) for row in [head, *rows]) + "\n"
    (_folder(parent, "0") / "a.lev20").write_text(text)
    return [parent / "0"]


@target("aeronet", _aeronet)
def _read_aeronet(folder: Path) -> None:
    from skyweave.io import read_aeronet

    read_aeronet(folder / "a.lev20")


def _igra(parent: Path) -> list[Path]:
    def level(kind: str, p: int, z: int, t: int, rh: int, wdir: int, wspd: int) -> str:
        return f"{kind} {-9999:5d} {p:6d} {z:5d} {t:5d} {rh:5d} {-9999:5d} {wdir:5d} {wspd:5d} "

    levels = [
        level("21", 100000, 120, 153, 800, 180, 30),
        level("10", 92500, 763, 100, 555, 90, 50),
        level("10", 50000, 5720, -100, 200, 0, 0),
    ]
    text = "".join(
        f"#XXM00012345 2015 06 15 {hour} 2331 {len(levels):4d} ncdc-gts {'':8} {482333:7d} {163500:8d}\n"
        + "\n".join(levels)
        + "\n"
        for hour in ("00", "12")
    )
    stations = "XXM00012345  48.2333   16.3500  200.0    VIENNA                         1950 2020  50000\n"
    folder = _folder(parent, "0")
    (folder / "XXM00012345-data.txt").write_text(text)
    (folder / "stations.txt").write_text(stations)
    folder = _folder(parent, "1")
    (folder / "XXM00012345-data.txt.gz").write_bytes(gzip.compress(text.encode(), 1, mtime=0))
    (folder / "stations.txt").write_text(stations)
    return [parent / "0", parent / "1"]


@target("igra", _igra)
def _read_igra(folder: Path) -> None:
    from skyweave.io.igra import read_igra, read_station_list

    if (folder / "stations.txt").exists():
        read_station_list(folder / "stations.txt")
    read_igra(sorted(folder.glob("XXM*")), stations=None)


# ---- trained files


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
        save_prior(prior, _folder(parent, f"{k}") / "p.safetensors")
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
            spec,
            grid,
            21600.0,
            transform,
            made,
            settings,
            conditioning,
            climate,
            torch.zeros(2, 2, *grid.shape),
            metadata,
        )
        save_emulator(emulator, _folder(parent, f"{k}") / "e.safetensors")
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
    from skyweave.downscale.models.encoder import build_encoder
    from skyweave.downscale.models.registry import DOWNSCALERS, build_downscaler
    from skyweave.downscale.models.target_form import Channels
    from skyweave.downscale.settings import ModelSection, NetworkSection
    from skyweave.downscale.storage import TrainedDownscaler, save_downscaler

    channels, out = Channels(1, 1, 2, 3, 6, (0,)), []
    network = NetworkSection(base=4, multipliers=(1, 2))
    for name in ("ddpm", "unet", "vae"):
        encoder = build_encoder(DOWNSCALERS[name].encoder_kind, 2, 1, network.architecture())
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
        save_downscaler(TrainedDownscaler(model, (8, 8), metadata), _folder(parent, name) / "d.safetensors")
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
        path = _folder(parent, f"{k}") / "checkpoint.safetensors"
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


# ---- configurations


_YAML = {
    "reconstruct": """prior: era5
observations:
  - {grid: a.nc, variable: t2m, error: 0.5, valid_range: [0, 400]}
  - {points: b.csv, error: "0.05+10%", columns: {value: t}, missing: [-999], thin: cell}
  - {soundings: c.txt, errors: {t: {850: 1.0}}, quality: null}
region: {lat: [30, 60], lon: [-10, 20]}
period: ["2020-01-01", "2020-01-02"]
members: 8
steps: 16
options: {sigma_max: 10.0}
quantiles: [0.1, 0.9]
out: o.zarr
""",
    "train": """data: {paths: a.nc, variables: [t2m], conditioning: [latitude], units: {t2m: K}, region: {lat: [0, 10]}}
split: {train: ["2014-06-01", "2014-06-17"], validate: ["2014-06-18", "2014-06-20"]}
out: runs/a
transform: {t2m: standardise}
bounds: {t2m: [150, null]}
patch: [16, 16]
network: {preset: tiny, base: 16, multipliers: [1, 2], attention: [[8, 8]]}
noise: {p_mean: -1.0}
optimiser: {lr: 0.001, betas: [0.9, 0.99]}
steps: 10
""",
    "emulate": """data: {paths: a.nc, variables: [t]}
split: {train: ["2001-01-01", "2001-02-14"], validate: ["2001-02-15", "2001-03-01"]}
out: runs/e
network: {kind: unet, width: 8, multipliers: [1, 2]}
loss: {rollout: 2}
hindcast: {steps: 3}
""",
    "downscale": """coarse: {paths: a.nc, variables: AOD, period: ["2003-01-01", "2008-12-31"]}
fine: {paths: b.nc, variables: AOD}
areas: {one: {lat: [0, 10], lon: [0, 10]}}
seasons: four
split: {fractions: [0.8, 0.1, 0.1]}
patch: 16
encoder: {network: {base: 8}}
options: {formulation: ddpm, training: {epochs: 2}}
inference: {members: 4}
""",
    "cycle": """prior: era5
model: {fitted: {name: linear, data: a.nc, options: {modes: 3}}}
observations: [{grid: a.nc, variable: t2m, error: 1}]
times: ["2020-01-01", 2020-01-02T06:00]
members: 8
model_error: {t2m: 0.5}
out: o.zarr
""",
    "fuse": """prior: era5
forecast: {path: f.nc, init_time: 2020-01-01}
past: {forecasts: p.nc, truth: t.nc, period: ["2019-01-01", "2019-12-31"]}
observations: [{grid: a.nc, variable: t2m, error: 1}]
out: o.zarr
""",
    "tune": """reconstruct:
  prior: era5
  observations: [{grid: a.nc, variable: t2m, error: 1, name: A}]
truth: t.nc
grid: {observations.A.weight: [0.5, 1], "steps": [8, 16]}
""",
}


def _yaml(parent: Path) -> list[Path]:
    for name, text in _YAML.items():
        (_folder(parent, name) / f"{name}.yaml").write_text(text)
    return [parent / name for name in _YAML]


@target("yaml", _yaml)
def _read_yaml(folder: Path) -> None:
    from skyweave.cli.cycle_settings import CycleConfig
    from skyweave.cli.fuse_settings import FuseConfig
    from skyweave.cli.settings import settings_from
    from skyweave.cli.tune_settings import TuneConfig, base_of, checked
    from skyweave.config import load_config
    from skyweave.downscale.config import load_downscaling
    from skyweave.emulate.config import EmulatorConfig
    from skyweave.evaluate.grid_of_settings import expand
    from skyweave.posterior.methods import method_of
    from skyweave.prior.config import TrainConfig

    path = next(folder.glob("*.yaml"))
    if path.stem == "reconstruct":
        settings = settings_from(path, None)
        method_of(settings.method, settings.sampler, settings.steps, settings.options)
    elif path.stem == "train":
        load_config(path, TrainConfig)
    elif path.stem == "emulate":
        load_config(path, EmulatorConfig)
    elif path.stem == "downscale":
        found = load_downscaling(path)
        list(found.tasks())
    elif path.stem == "cycle":
        load_config(path, CycleConfig)
    elif path.stem == "fuse":
        load_config(path, FuseConfig)
    else:
        tuning = load_config(path, TuneConfig)
        checked(base_of(tuning.reconstruct), expand(tuning.grid), str(path))


# ---- GRIB and BUFR


def _samples(folder: str, endings: tuple[str, ...], name: str) -> Callable[[Path], list[Path]]:
    """Small real files, where the data are there: none are made on the spot."""

    def seeds(parent: Path) -> list[Path]:
        from common import data_folder

        found = [
            p
            for p in sorted((data_folder() / folder).rglob("*"))
            if p.suffix in endings and p.stat().st_size < 60_000
        ]
        for k, path in enumerate(found[:6]):
            (_folder(parent, f"{k}") / name).write_bytes(path.read_bytes())
        return [parent / f"{k}" for k in range(len(found[:6]))]

    return seeds


def _grib(parent: Path) -> list[Path]:
    """Fields of 6 x 8 cells of either edition, with members and with missing values."""
    import eccodes

    out = []
    for edition in (1, 2):
        folder = _folder(parent, f"{edition}")
        with open(folder / "a.grib", "wb") as file:
            for member in (0, 1):
                message = eccodes.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
                keys = {
                    "Ni": 8, "Nj": 6, "iDirectionIncrementInDegrees": 5.0, "jDirectionIncrementInDegrees": 5.0,
                    "latitudeOfFirstGridPointInDegrees": 60.0, "latitudeOfLastGridPointInDegrees": 35.0,
                    "longitudeOfFirstGridPointInDegrees": 0.0, "longitudeOfLastGridPointInDegrees": 35.0,
                    "dataDate": 20200101, "dataTime": 600 * member, "bitmapPresent": 1, "missingValue": 9999.0,
                }  # fmt: skip
                for key, value in keys.items():
                    eccodes.codes_set(message, key, value)
                values = np.linspace(270.0, 290.0, 48) + member
                values[:3] = 9999.0
                eccodes.codes_set_values(message, values)
                eccodes.codes_write(message, file)
                eccodes.codes_release(message)
        out.append(folder)
    return out


@target("grib", _grib, "skyweave.io.grib")
def _read_grib(folder: Path) -> None:
    _fields_of(folder / "a.grib")


@target("bufr", _samples("bufr-networks", (".bufr", ".bfr"), "a.bufr"), "skyweave.io.bufr")
def _read_bufr(folder: Path) -> None:
    from skyweave.errors import SkyweaveError
    from skyweave.io.bufr import read_bufr
    from skyweave.io.bufr_soundings import read_soundings

    try:
        read_bufr(folder / "a.bufr")
    except SkyweaveError as refusal:
        if "--soundings" not in str(refusal):
            raise
        read_soundings(folder / "a.bufr")


def make_seeds(target: Target) -> list[Files]:
    """The valid inputs of a reader."""
    with tempfile.TemporaryDirectory() as folder:
        return [files_in(path) for path in target.seeds(Path(folder))]
