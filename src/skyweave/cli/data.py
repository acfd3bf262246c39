"""``skyweave data``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from skyweave.io.fetch import Day


def data(
    archive: Literal["merra2", "era5"],
    /,
    *,
    start: str,
    end: str,
    out: Path,
    lat: tuple[float, float] | None = None,
    lon: tuple[float, float] | None = None,
    variables: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    source: str | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
) -> None:
    """Fetch hourly MERRA-2 aerosol or ERA5 cloud cover, one NetCDF file per day.

    Days that are complete in the folder are skipped, so the same command goes on after an interruption.
    MERRA-2 needs a NASA Earthdata account, ERA5 none; see docs/data.md.

    Parameters
    ----------
    archive
        merra2 (M2T1NXAER, needs earthaccess) or era5 (ARCO-ERA5, needs gcsfs).
    start
        First day, as in 2020-01-01.
    end
        Last day, included.
    out
        Folder for the files.
    lat
        South and north, degrees; all latitudes if left out.
    lon
        West and east, degrees, in any convention; all longitudes if left out.
    variables
        Names in the archive; TOTEXTTAU or total_cloud_cover if left out.
    source
        Another place with the same variables: a path, glob or URL, with {date:%Y%m%d} where it has a file a day.
    dry_run
        List what would be fetched, and fetch nothing.
    overwrite
        Fetch again where a file holds other variables or another region.
    """
    from skyweave.io.archives import ARCHIVES
    from skyweave.io.fetch import fetch

    box = {"lat": lat, "lon": lon}
    region = {axis: bounds for axis, bounds in box.items() if bounds is not None}

    def tell(day: Day) -> None:
        done = {"complete": "complete", "fetched": "fetched", "missing": "would fetch"}[day.state]
        note = f" ({day.reason})" if dry_run and day.reason else ""
        print(f"{day.date} {done:<11} {day.path}{note}", flush=True)

    days = fetch(
        archive,
        (start, end),
        out,
        region=region,
        variables=variables,
        source=source,
        dry_run=dry_run,
        overwrite=overwrite,
        tell=tell,
    )
    count = {state: sum(day.state == state for day in days) for state in ("complete", "fetched", "missing")}
    place = source or ARCHIVES[archive].title
    if dry_run:
        print(f"{count['missing']} of {len(days)} days would be fetched from {place}")
    else:
        print(
            f"{count['fetched']} of {len(days)} days fetched from {place}, {count['complete']} were complete"
        )
