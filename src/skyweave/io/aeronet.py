"""AERONET version 3 aerosol optical depth: text files of any level as a table of observations at 550 nm."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd

from skyweave.dates import nanoseconds
from skyweave.errors import SkyweaveError, clipped
from skyweave.io.bounded import read_bounded
from skyweave.io.formats import expand

__all__ = ["INSTRUMENT_ERROR", "angstrom_interpolation", "read_aeronet"]

INSTRUMENT_ERROR = 0.01
"""Standard uncertainty of AOD of a field instrument in the visible and near infrared, by its calibration."""

DAMAGED = "rows of more or fewer fields than the heading"
MISSING = -999.0
FARTHEST = 2.0
HEADING = "Date(dd:mm:yyyy)"
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
PLACES = {"lat": "Site_Latitude(Degrees)", "lon": "Site_Longitude(Degrees)", "elevation": "Site_Elevation(m)"}
SITE_NAMES = ("AERONET_Site_Name", "AERONET_Site")
COLUMNS = ["time", "lat", "lon", "variable", "value", "error", "station", "elevation", "count"]

Method = Literal["angstrom", "quadratic"]


def read_aeronet(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    wavelength: float = 550.0,
    minimum_level: float = 1.5,
    window: str | None = "1h",
    minimum_count: int = 2,
    method: Method = "angstrom",
) -> pd.DataFrame:
    r"""AERONET version 3 direct-sun AOD at one wavelength, averaged in time, in the form of `read_stations`.

    Reads "All Points" files (``.lev10``, ``.lev15``, ``.lev20``) and what the web service
    ``print_web_data_v3`` gives. AOD is brought to ``wavelength`` by `angstrom_interpolation` between the
    nearest measured wavelengths on either side, at the exact wavelengths of the instrument where the file
    states them.

    Averages are over windows centred on whole multiples of their length: with ``"1h"`` a value at 12:00 is
    the mean of the measurements from 11:30 up to, not including, 12:30. The error of a mean of n values with
    standard deviation s is

    .. math:: \max(0.01,\; s / \sqrt{n}),

    the calibration of the instrument, which averaging does not reduce, or the spread within the window.

    Args:
        paths: files, globs or URLs.
        wavelength: nm.
        minimum_level: least quality level accepted: 1.0 unscreened, 1.5 cloud-screened, 2.0 with final
            calibration.
        window: length of the averages as pandas spells it; ``None`` keeps every measurement, with error 0.01.
        minimum_count: measurements that a window needs; windows with fewer are dropped.
        method: ``"angstrom"``, or ``"quadratic"`` in log-log where three wavelengths or more are at hand.

    Returns:
        Columns time (UTC), lat, lon (degrees), variable ("AOD"), value (1), error (1), station, elevation (m),
        count. ``.attrs["dropped"]`` counts measurements left out by reason.

    Raises:
        SkyweaveError: a file that is not AERONET version 3 AOD, holds daily or monthly averages, is of too low a level,
            or nothing usable in any of them. Rows of more or fewer fields than the heading, as where files are damaged,
            are left out and counted; a file that ends within a line is refused.

    Reference: Giles et al. (2019), Atmos. Meas. Tech. 12, 169-209, doi 10.5194/amt-12-169-2019 (version 3, levels,
    uncertainty 0.01 in the visible and near infrared; after Eck et al. 1999).
    """
    if minimum_level not in (1.0, 1.5, 2.0):
        raise SkyweaveError(f"minimum_level {minimum_level!r}: AERONET has levels 1.0, 1.5 and 2.0")
    if method not in ("angstrom", "quadratic"):
        raise SkyweaveError(f"method {method!r}: give 'angstrom' or 'quadratic'")
    files = expand(paths)
    dropped = {"no AOD on both sides of the wavelength": 0, "too few in the window": 0}
    parts = []
    for path in files:
        frame = _read(path, dropped)
        _check_level(frame, path, minimum_level)
        points = _points(frame, path, wavelength, method)
        somewhere = points["lat"].notna() & points["lon"].notna()
        if not somewhere.all():
            dropped["without a place"] = dropped.get("without a place", 0) + int((~somewhere).sum())
        points = points[somewhere]
        known = points["value"].notna()
        dropped["no AOD on both sides of the wavelength"] += int((~known).sum())
        parts.append(points[known])
    points = pd.concat(parts, ignore_index=True).drop_duplicates(["station", "time"])
    table = points.assign(error=INSTRUMENT_ERROR, count=1) if window is None else _averaged(points, window)
    if window is not None:
        enough = table["count"] >= minimum_count
        dropped["too few in the window"] = int(table.loc[~enough, "count"].sum())
        table = table[enough]
    if table.empty:
        told = (
            "; ".join(f"{n} measurements: {reason}" for reason, n in dropped.items() if n) or "no measurement"
        )
        where = files[0] if len(files) == 1 else f"{files[0]} ... ({len(files)} files)"
        raise SkyweaveError(
            f"{where}: no AOD at {wavelength:g} nm is left ({told}); choose another wavelength, a longer window, a "
            "smaller minimum_count, or window=None"
        )
    table = table.assign(variable="AOD").sort_values(["time", "station"], ignore_index=True)[COLUMNS]
    table.attrs["dropped"] = dropped
    return table


def angstrom_interpolation(
    aod: np.ndarray, wavelengths: np.ndarray, wanted: float, method: Method = "angstrom"
) -> np.ndarray:
    r"""AOD at one wavelength from those measured around it.

    Between the nearest wavelengths :math:`\lambda_1 \le \lambda \le \lambda_2` (Angstrom's law):

    .. math:: \tau(\lambda) = \tau_1 (\lambda / \lambda_1)^{-\alpha}, \qquad
              \alpha = -\frac{\ln(\tau_2 / \tau_1)}{\ln(\lambda_2 / \lambda_1)}

    With ``"quadratic"``, :math:`\ln\tau = a_0 + a_1 \ln\lambda + a_2 \ln^2\lambda` by least squares over the
    wavelengths within a factor of two of the wanted one; of a row with fewer than three, Angstrom's law. AOD
    that is not positive has no logarithm: such a row is interpolated linearly in :math:`\ln\lambda`, so that
    clean air at the limit of the instrument is not left out.

    Args:
        aod: shape ``(n, k)``, NaN where missing.
        wavelengths: nm, shape ``(n, k)`` or ``(k,)``.
        wanted: nm.
        method: ``"angstrom"`` or ``"quadratic"``.

    Returns:
        Shape ``(n,)``; NaN without a wavelength on both sides, each within a factor of two.

    Reference: Angstrom (1929), Geogr. Ann. 11, 156-166; Eck et al. (1999), J. Geophys. Res. 104, 31333-31349,
    Eqs. 2 and 3 (quadratic).
    """
    aod = np.asarray(aod, np.float64)
    wave = np.broadcast_to(np.asarray(wavelengths, np.float64), aod.shape)
    near = np.isfinite(aod) & np.isfinite(wave) & (wave >= wanted / FARTHEST) & (wave <= wanted * FARTHEST)
    rows = np.arange(len(aod))
    first = np.where(near & (wave <= wanted), wave, -np.inf).argmax(1)
    second = np.where(near & (wave >= wanted), wave, np.inf).argmin(1)
    both = (near & (wave <= wanted)).any(1) & (near & (wave >= wanted)).any(1)
    t1, t2 = aod[rows, first], aod[rows, second]
    span = np.log(wave[rows, second] / wave[rows, first])
    part = np.log(wanted / wave[rows, first]) / np.where(span > 0, span, 1.0)
    positive = (t1 > 0) & (t2 > 0)
    logs = [np.log(np.where(positive, t, 1.0)) for t in (t1, t2)]
    power = np.exp(logs[0] + part * (logs[1] - logs[0]))
    value = np.where(positive, power, t1 + part * (t2 - t1))
    if method == "quadratic":
        for row in np.flatnonzero(both & positive & ((near & (aod > 0)).sum(1) >= 3)):
            used = near[row] & (aod[row] > 0)
            curve = np.polyfit(np.log(wave[row, used] / wanted), np.log(aod[row, used]), 2)
            value[row] = np.exp(curve[2])  # at ln(wanted / wanted) = 0
    return np.where(both, value, np.nan)


def _read(path: str, dropped: dict[str, int]) -> pd.DataFrame:
    """Rows of one file, or of several that were joined, as text; what is no whole row is counted."""
    # The web service ends its lines in <br>, unless asked not to; names of people may be Latin-1.
    text = re.sub(r"<br\s*/?>", "", read_bounded(path).decode("utf-8-sig", "replace"))
    ended = text.endswith(("\n", "\r"))
    lines = [line.replace("Date_(", "Date(").replace("Time_(", "Time(") for line in text.splitlines()]
    starts = [n for n, line in enumerate(lines) if HEADING in line]
    if not starts:
        opening = next((line.strip() for line in lines if line.strip()), "nothing")
        raise SkyweaveError(
            f"{path}: is not an AERONET version 3 file: no heading with {HEADING!r} (it starts with "
            f"{clipped(opening, 80)}); download 'All Points' AOD from aeronet.gsfc.nasa.gov (monthly averages are no "
            "measurements), or use read_stations for a table of your own"
        )
    parts: list[tuple[pd.DataFrame, int]] = []
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        preface = lines[parts[-1][1] if parts else 0 : start]
        last = stop == len(lines)
        frame = _block(lines[start:stop], path, dropped, ended or not last)
        parts.append((_complete(frame, preface, path), start))
    frame = pd.concat([part for part, _ in parts], ignore_index=True)
    if frame.empty:
        raise SkyweaveError(f"{path}: holds no measurement; choose another period or level for this site")
    return frame


def _block(lines: list[str], path: str, dropped: dict[str, int], ended: bool) -> pd.DataFrame:
    """The rows under one heading that have a field for each of its columns."""
    heading = [name.strip() for name in lines[0].split(",")]
    columns: list[str] = []
    for name in heading:
        columns.append(name if name not in columns else f"{name}.{len(columns)}")
    try:
        rows = [row for row in csv.reader(lines[1:]) if row]
    except csv.Error as exc:
        raise SkyweaveError(f"{path}: cannot be read ({exc}); is the file damaged?") from None
    whole = [row for row in rows if len(row) == len(columns)]
    odd = [row for row in rows if len(row) != len(columns)]
    # A line above the next heading or of HTML is no row of the table; what begins with a date is.
    cut = [row for row in odd if re.match(r"\s*\d\d:\d\d:\d", row[0]) or len(row) > 10]
    if odd and not ended and odd[-1] is rows[-1] and not rows[-1][0].lstrip().startswith("<"):
        raise SkyweaveError(
            f"{path}: ends within a line, {clipped(','.join(rows[-1]), 60)}, with {len(rows[-1])} of {len(columns)} "
            "fields: it is truncated, download it again, or take the last line out"
        )
    if (
        whole
        and not ended
        and rows[-1] is whole[-1]
        and len(whole) > 1
        and len(whole[-1][-1]) < len(whole[-2][-1])
    ):
        cut.append(whole.pop())  # cut within its last field
    if cut:
        dropped[DAMAGED] = dropped.get(DAMAGED, 0) + len(cut)
    return pd.DataFrame(whole, columns=columns, dtype=object)


def _complete(frame: pd.DataFrame, preface: list[str], path: str) -> pd.DataFrame:
    """A block with its level and the name of its site, of direct-sun AOD at single times."""
    told = " ".join(preface)
    average = re.search(r"(Daily|Monthly)\s+Averages?", told, re.IGNORECASE)
    noon = frame.get("Time(hh:mm:ss)", pd.Series(dtype=object)).str.strip()
    counted = any(str(c).startswith("N[") for c in frame.columns)
    if average or counted or (len(noon) > 1 and noon.eq("12:00:00").all()):
        kind = average[1].lower() if average else "daily"
        raise SkyweaveError(
            f"{path}: holds {kind} averages, which are no measurements at 12:00; download 'All Points' of the same "
            "site (AVG=10 of print_web_data_v3) and average it with window, such as window='1h'"
        )
    if "Data_Quality_Level" not in frame:
        # Files without the column state the level above the heading, "Version 3: AOD Level 2.0".
        level = re.search(r"Level\s*([12]\.[05])", told)
        frame["Data_Quality_Level"] = f"lev{level[1].replace('.', '')}" if level else "unknown"
    site = next((c for c in SITE_NAMES if c in frame), None)
    needed = [HEADING, "Time(hh:mm:ss)", *PLACES.values()]
    lacking = [name for name in needed if name not in frame] + ([] if site else [SITE_NAMES[0]])
    if not any(_nominal(c) for c in frame.columns):
        lacking.append("AOD_<wavelength>nm")
    if lacking:
        raise SkyweaveError(
            f"{path}: an AERONET file without {', '.join(lacking)} (it has {clipped(', '.join(frame.columns[:8]), 200)}"
            ", ...); the AOD product, 'All Points', of version 3 has them; inversion and SDA products are not read"
        )
    return frame.rename(columns={site: "station"})


def _check_level(frame: pd.DataFrame, path: str, minimum: float) -> None:
    found = {str(text).strip().lower() for text in frame["Data_Quality_Level"].dropna()}
    levels = [int(m[1]) / 10 for text in found if (m := re.search(r"([12][05])", text))]
    if not levels:
        raise SkyweaveError(
            f"{path}: states no quality level (found {', '.join(sorted(found)) or 'nothing'}); files of version 3 "
            "have 'lev10', 'lev15' or 'lev20' in the column Data_Quality_Level"
        )
    if min(levels) < minimum:
        raise SkyweaveError(
            f"{path}: holds AOD of level {min(levels):.1f}, below minimum_level={minimum:.1f}; download level "
            f"{minimum:.1f} or higher, or accept it with minimum_level={min(levels):.1f}"
        )


def _nominal(column: str) -> str | None:
    """The nanometres in a heading such as ``AOD_440nm``."""
    match = re.fullmatch(r"AOD_(\d+)nm", column)
    return match[1] if match else None


def _points(frame: pd.DataFrame, path: str, wavelength: float, method: Method) -> pd.DataFrame:
    """One row per measurement, NaN where there is no AOD at the wavelength."""
    moments = frame[HEADING].str.strip() + " " + frame["Time(hh:mm:ss)"].str.strip()
    times = nanoseconds(pd.to_datetime(moments, format="%d:%m:%Y %H:%M:%S", errors="coerce"))
    if times.isna().any():
        row = int(np.flatnonzero(times.isna())[0])
        raise SkyweaveError(
            f"{path}: measurement {row + 1} has the time {clipped(moments.iloc[row])}, not dd:mm:yyyy hh:mm:ss; is the "
            "file damaged or edited?"
        )
    nominal = [n for c in frame.columns if (n := _nominal(c)) is not None]
    aod = np.stack([_numbers(frame[f"AOD_{n}nm"], path) for n in nominal], axis=1)
    wave = np.broadcast_to(np.array(nominal, float), aod.shape).copy()
    for k, n in enumerate(nominal):
        exact = f"Exact_Wavelengths_of_AOD(um)_{n}nm"
        if exact in frame:
            microns = _numbers(frame[exact], path)
            wave[:, k] = np.where(np.isfinite(microns), 1000 * microns, wave[:, k])
    points = pd.DataFrame(
        {
            "time": times,
            "station": frame["station"].str.strip(),
            "value": angstrom_interpolation(aod, wave, wavelength, method),
        }
    )
    for name, column in PLACES.items():
        points[name] = _numbers(frame[column], path)
    beyond = (points["lat"].abs() > 90) | (points["lon"].abs() > 180)
    if beyond.any():
        row = int(np.flatnonzero(beyond)[0])
        raise SkyweaveError(
            f"{path}: measurement {row + 1} is at {points['lat'].iloc[row]:g} N {points['lon'].iloc[row]:g} E, which "
            "is no place; is the file damaged or edited?"
        )
    return points


def _numbers(column: pd.Series, path: str) -> np.ndarray:
    text = column.str.strip()
    plain = text.str.fullmatch(NUMBER)
    numbers = pd.to_numeric(text.where(plain), errors="coerce").astype(float)
    bad = numbers.isna() & column.notna() & ~text.isin(["", "N/A"])
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise SkyweaveError(
            f"{path}: measurement {row + 1} holds {clipped(column.iloc[row])} as {column.name}, which is not a number; "
            "is the file damaged or edited?"
        )
    return numbers.mask(numbers <= MISSING).to_numpy(float)


def _averaged(points: pd.DataFrame, window: str) -> pd.DataFrame:
    try:
        length = pd.Timedelta(window)
    except ValueError as exc:
        raise SkyweaveError(
            f"window {window!r}: give a length of time such as '1h' or '30min', or None"
        ) from exc
    if not length > pd.Timedelta(0):
        raise SkyweaveError(f"window {window!r}: give a length of time greater than zero, or None")
    centre = (points["time"] + length / 2).dt.floor(length)
    groups = points.assign(time=centre).groupby(["station", "time"], as_index=False)
    table = groups.agg(
        lat=("lat", "mean"),
        lon=("lon", "mean"),
        elevation=("elevation", "mean"),
        value=("value", "mean"),
        spread=("value", "std"),
        count=("value", "size"),
    )
    mean_error = (table["spread"] / np.sqrt(table["count"])).fillna(0.0)
    return table.assign(error=np.maximum(INSTRUMENT_ERROR, mean_error))
