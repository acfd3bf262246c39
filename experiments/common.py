"""What the experiments of AODDiff share: simulated observations, methods, scores, and the page of results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import skyweave
from skyweave.baselines import BASELINES, Climatology
from skyweave.grid import Grid
from skyweave.observe.assemble import assemble
from skyweave.prior.corruption import moving_clouds
from skyweave.prior.storage import LearntPrior
from skyweave.verify import crps, melr, nrmse, spread_skill_ratio, table

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("SKYWEAVE_DATA", ROOT.parent / "shared" / "data"))
MADE, PAGE, FIGURES = ROOT / "runs/aoddiff_data", ROOT / "docs/results/aoddiff.md", ROOT / "docs/figures"
HOURLY = DATA / "merra2-tqv-tropics-2014-06/merra2_tqv_africa_64x128_hourly_201406_d01-24.nc"
GOES = DATA / "goes16-aod-conus-2018-11-15/goes16_aod_conus_10km_20181115.nc"
ERROR = 0.7
"""Standard deviation of simulated observations, kg m-2: a twentieth of the field's."""
PRIORS = {
    "complete": "runs/aoddiff_complete",
    "gappy": "runs/aoddiff_gappy",
    "goes": "runs/aoddiff_goes_more",
}


def opened(name: str) -> LearntPrior:
    return skyweave.open_prior(ROOT / PRIORS[name] / "prior.safetensors")


def cases(count: int, hours: int = 9, size: int = 32, seed: int = 0) -> list[xr.DataArray]:
    """Sequences of the test days, ``hours`` x ``size`` x ``size``, at random places and times."""
    record = xr.open_dataset(HOURLY).TQV.sel(time=slice("2014-06-21", "2014-06-24")).load()
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        t, i, j = (
            int(rng.integers(0, n - k + 1)) for n, k in zip(record.shape, (hours, size, size), strict=True)
        )
        out.append(record.isel(time=slice(t, t + hours), lat=slice(i, i + size), lon=slice(j, j + size)))
    return out


def observe(
    truth: xr.DataArray, seed: int, downscale: int = 0, missing: float = 0.0, every: int = 1
) -> list[skyweave.GridObservation]:
    """The operators of Section 2.3: average pooling, cloud masks, temporal subsampling, Gaussian noise."""
    rng, out = np.random.default_rng(seed), []
    if downscale:
        coarse = truth.coarsen(lat=downscale, lon=downscale).mean(keep_attrs=True)[::every]
        noisy = coarse + ERROR * rng.standard_normal(coarse.shape)
        out.append(
            skyweave.GridObservation(
                noisy.assign_attrs(truth.attrs),
                error=ERROR,
                operator="block-mean",
                name="coarse",
                variable="TQV",
            )
        )
    if missing:
        seen = moving_clouds(*truth.shape, missing, torch.Generator().manual_seed(seed)).numpy()
        noisy = (truth + ERROR * rng.standard_normal(truth.shape)).where(seen)[::every]
        out.append(
            skyweave.GridObservation(
                noisy.assign_attrs(truth.attrs), error=ERROR, operator="mask", name="gappy", variable="TQV"
            )
        )
    return out


def posterior(
    prior: LearntPrior, truth: xr.DataArray, given: Sequence[Any], members: int, **how: Any
) -> torch.Tensor:
    """Members ``(M, T, H, W)`` of the posterior."""
    out = skyweave.reconstruct(
        prior, given, like=truth, members=members, progress=False, autocast=True, **how
    )
    return torch.from_numpy(out[prior.spec.names[0]].values)


def baseline(
    name: str, prior: LearntPrior, truth: xr.DataArray, given: Sequence[Any], members: int, **extra: Any
) -> torch.Tensor:
    """What a method that is not ours makes of the same observations."""
    grid, times = Grid.from_dataset(truth), truth.time.values
    observed = assemble(given, prior.spec, grid, times, prior.transform).segment(0, len(times))
    known = climatology(prior, grid)
    made = BASELINES[name](
        observed, prior.spec, grid, transform=prior.transform, climatology=known, members=members, **extra
    )
    return torch.from_numpy(np.asarray(made))[:, :, 0]


def climatology(prior: LearntPrior, grid: Grid) -> Climatology:
    """Of the training days, with covariances of up to eight hours."""
    record = xr.open_dataset(HOURLY).TQV.sel(
        time=slice("2014-06-01", "2014-06-17"), lat=grid.lat, lon=grid.lon
    )
    states = torch.from_numpy(record.values[:, None].astype(np.float32))
    return Climatology.fit(states, prior.transform, frames=9)


def scores(members: torch.Tensor, truth: xr.DataArray, deviation: float) -> dict[str, float]:
    """nRMSE and MELR of each member (then averaged) and of the mean, fair CRPS, spread-skill ratio."""
    true = torch.from_numpy(truth.values)
    mean = members.double().mean(0)
    return {
        "nRMSE member": float(nrmse(members, true, deviation)),
        "nRMSE mean": float(nrmse(mean, true, deviation)),
        "MELR member": float(melr(members, true)),
        "MELR mean": float(melr(mean, true)),
        "CRPS": float(crps(members, true)),
        "SSR": float(spread_skill_ratio(members, true)) if len(members) > 1 else float("nan"),
    }


def mean_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def emit(title: str, rows: Sequence[dict[str, Any]], note: str = "", page: Path = PAGE) -> None:
    """Print a table and put it on the page of results, in place of an older one of the same title."""
    text = f"## {title}\n\n{note + chr(10) + chr(10) if note else ''}{table(rows)}\n"
    print("\n" + text, flush=True)
    page.parent.mkdir(parents=True, exist_ok=True)
    parts = page.read_text().split("\n## ") if page.exists() else [f"# {page.stem}\n"]
    kept = [part for part in parts[1:] if not part.startswith(title + "\n")]
    page.write_text("\n## ".join([parts[0].rstrip() + "\n", *[k.rstrip() + "\n" for k in kept], text[3:]]))
