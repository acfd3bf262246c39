"""The bridge between datasets and tensors keeps values, units and coordinates."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from skyweave.errors import SkyweaveError
from skyweave.grid import Grid
from skyweave.state import StateSpec, Variable, apply_bounds, to_dataset, to_tensor
from skyweave.units import conversion

SPEC = StateSpec((Variable("t2m", "K", "air_temperature"), Variable("tp", "kg m-2", bounds=(0, None))))


def dataset() -> xr.Dataset:
    rng = np.random.default_rng(0)
    dims = ("longitude", "time", "latitude")
    return xr.Dataset(
        {
            "temp": (
                dims,
                rng.normal(10, 5, (4, 2, 3)),
                {"units": "degC", "standard_name": "air_temperature"},
            ),
            "tp": (dims, rng.random((4, 2, 3)).astype("f4"), {"units": "m"}),
        },
        {
            "longitude": ("longitude", np.float32([350, 355, 0, 5]), {"units": "degrees_east"}),
            "latitude": (
                "latitude",
                np.float32([50.1, 49.1, 48.1]),
                {"units": "degrees_north", "note": "kept"},
            ),
            "time": pd.date_range("2014-06-01", periods=2, freq="3h"),
        },
    )


def test_values_order_and_units():
    ds = dataset()
    ds["temp"][1, 1, 2] = np.nan
    x = to_tensor(ds, SPEC)
    assert x.shape == (2, 2, 3, 4)
    assert x.dtype == torch.float32
    assert x[1, 0, 2, 1].isnan()
    assert int(x.isnan().sum()) == 1
    np.testing.assert_allclose(
        x[0, 0], ds.temp.isel(time=0).transpose("latitude", "longitude") + 273.15, rtol=1e-6
    )
    np.testing.assert_allclose(
        x[0, 1], 1000 * ds.tp.isel(time=0).transpose("latitude", "longitude"), rtol=1e-6
    )


def test_round_trip_keeps_coordinates_bit_for_bit():
    ds = dataset()
    x = to_tensor(ds, SPEC)
    out = to_dataset(torch.stack([x, x + 1]), SPEC, ds, members=[3, 7])
    assert out.t2m.dims == ("member", "time", "latitude", "longitude")
    for name in ("time", "latitude", "longitude"):
        assert out[name].identical(ds[name].reset_coords(drop=True))
        assert out[name].dtype == ds[name].dtype
    assert out.member.values.tolist() == [3, 7]
    assert out.t2m.attrs == {"units": "K", "standard_name": "air_temperature"}
    torch.testing.assert_close(to_tensor(out.sel(member=3), SPEC), x)
    assert to_dataset(x, SPEC, ds).tp.dims == ("time", "latitude", "longitude")


def test_a_single_time_without_a_time_dimension():
    ds = dataset().isel(time=0)
    x = to_tensor(ds, SPEC)
    assert x.shape == (1, 2, 3, 4)
    assert to_dataset(x, SPEC, ds).tp.dims == ("time", "latitude", "longitude")


@pytest.mark.parametrize(("units", "values"), [("hPa", [850, 500]), ("Pa", [85000, 50000])])
def test_levels(units, values):
    field = dataset().tp.expand_dims(level=2).copy()
    field[1] += 5
    ds = field.assign_coords(level=("level", values, {"units": units})).rename("z").to_dataset()
    ds["z"].attrs["units"] = "m2 s-2"
    spec = StateSpec((Variable("z850", "m2 s-2", level=850), Variable("z500", "m2 s-2", level=500)))
    x = to_tensor(ds, spec)
    torch.testing.assert_close(x[:, 1] - x[:, 0], torch.full((2, 3, 4), 5.0))
    with pytest.raises(SkyweaveError, match="no level 300"):
        to_tensor(ds, StateSpec((Variable("z300", "m2 s-2", level=300),)))
    twice = ds.assign_coords(level=("level", values[:1] * 2, {"units": units}))
    with pytest.raises(SkyweaveError, match="holds the level 850 2 times"):
        to_tensor(twice, StateSpec((Variable("z850", "m2 s-2", level=850),)))


def test_a_level_is_the_nearest_and_its_axis_is_found_by_its_meaning():
    field = dataset().tp.expand_dims(deep=3).copy() + xr.DataArray([0.0, 1.0, 2.0], dims="deep")
    axis = ("deep", [0.494, 0.49402, 1.54], {"units": "m", "positive": "down"})
    ds = field.assign_coords(deep=axis).rename("thetao").to_dataset()
    ds["thetao"].attrs["units"] = "K"
    x = to_tensor(ds, StateSpec((Variable("thetao", "K", level=0.494025),)))
    nearest = ds.thetao.isel(deep=1).transpose("time", "latitude", "longitude")
    torch.testing.assert_close(x[:, 0], torch.from_numpy(nearest.values).float())


def test_refusals_say_what_was_found():
    ds = dataset()
    with pytest.raises(SkyweaveError, match=r"no variable 'temp2' \(did you mean 'temp'"):
        to_tensor(ds, StateSpec((Variable("temp2", "K"),)))
    with pytest.raises(SkyweaveError, match=r"'temp'.*'degC' are of another kind than 'Pa'"):
        to_tensor(ds, StateSpec((Variable("temp", "Pa"),)))
    with pytest.raises(SkyweaveError, match="'flagon' is not a unit"):
        to_tensor(ds.assign(tp=ds.tp.assign_attrs(units="flagon")), SPEC)
    with pytest.raises(SkyweaveError, match="is not the one wanted"):
        to_tensor(ds, SPEC, Grid(np.arange(3.0), np.arange(4.0)))
    with pytest.raises(SkyweaveError, match="besides time"):
        to_tensor(ds.expand_dims(number=2), SPEC)
    with pytest.raises(SkyweaveError, match="all have the standard name"):
        to_tensor(ds.assign(other=ds.temp), SPEC)
    with pytest.raises(SkyweaveError, match="does not fit"):
        to_dataset(torch.zeros(2, 1, 3, 4), SPEC, ds)
    with pytest.raises(SkyweaveError, match="tp more than once"):
        StateSpec((Variable("tp", "m"), Variable("tp", "mm")))
    with pytest.raises(SkyweaveError, match="odd number"):
        StateSpec(SPEC.variables, window=4)


def test_specification_survives_json():
    spec = StateSpec((*SPEC.variables, Variable("z", "m2 s-2", level=500)), (0.5, 0.625), 3)
    assert StateSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_bounds_move_and_count_only_what_is_outside():
    spec = StateSpec((Variable("t", "K"), Variable("q", "1", bounds=(0, 1))))
    x = torch.tensor([-1.0, 0.5, 2.0, float("nan")]).repeat(2, 2, 1).reshape(2, 2, 1, 4)
    bounded, counts = apply_bounds(x, spec)
    assert counts == {"q": 4}
    torch.testing.assert_close(bounded[:, 0], x[:, 0], equal_nan=True)
    torch.testing.assert_close(bounded[0, 1, 0], torch.tensor([0, 0.5, 1, float("nan")]), equal_nan=True)
    assert x[0, 1, 0, 0] == -1
    assert apply_bounds(bounded, spec)[1] == {"q": 0}


@pytest.mark.parametrize(
    ("found", "wanted", "value", "result"),
    [
        ("degC", "K", 10, 283.15),
        ("degF", "degC", 212, 100),
        ("K", "Celsius", 273.15, 0),
        ("mb", "Pa", 1013.25, 101325),
        ("km/h", "m s**-1", 36, 10),
        ("knots", "m/s", 1, 0.514444),
        ("mm", "kg m-2", 3, 3),
        ("kg/m^2/s", "mm day-1", 1 / 86400, 1),
        ("%", "1", 50, 0.5),
        ("g/kg", "kg kg**-1", 5, 0.005),
        ("g kg-1", "1", 5, 0.005),
        ("µg m⁻³", "kg m-3", 1, 1e-9),
        ("dam", "gpm", 552, 5520),
        ("", "K", 4, 4),
        ("furlong", "furlong", 4, 4),
    ],
)
def test_unit_spellings(found, wanted, value, result):
    scale, offset = conversion(found, wanted, "x")
    assert value * scale + offset == pytest.approx(result, rel=1e-5, abs=1e-9)
    back_scale, back_offset = conversion(wanted, found, "x")
    assert (value * scale + offset) * back_scale + back_offset == pytest.approx(value)
