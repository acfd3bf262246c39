"""Tables of reports: small valid ones, and how they are read."""

from __future__ import annotations

import gzip
from pathlib import Path

from fuzz_target import folder_in, target

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
        (folder_in(parent, f"{k}") / "a.csv").write_text(text)
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
    (folder_in(parent, "0") / "a.lev20").write_text(text)
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
    folder = folder_in(parent, "0")
    (folder / "XXM00012345-data.txt").write_text(text)
    (folder / "stations.txt").write_text(stations)
    folder = folder_in(parent, "1")
    (folder / "XXM00012345-data.txt.gz").write_bytes(gzip.compress(text.encode(), 1, mtime=0))
    (folder / "stations.txt").write_text(stations)
    return [parent / "0", parent / "1"]


@target("igra", _igra)
def _read_igra(folder: Path) -> None:
    from skyweave.io.igra import read_igra, read_station_list

    if (folder / "stations.txt").exists():
        read_station_list(folder / "stations.txt")
    read_igra(sorted(folder.glob("XXM*")), stations=None)
