"""Configurations of every command, and how they are read."""

from __future__ import annotations

from pathlib import Path

from fuzz_target import folder_in, target

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
        (folder_in(parent, name) / f"{name}.yaml").write_text(text)
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
