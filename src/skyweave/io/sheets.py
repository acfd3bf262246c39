"""Tables of spreadsheets: the first sheet of an .xlsx file, its heading found among titles."""

from __future__ import annotations

import io
import zipfile

import pandas as pd

from skyweave.errors import SkyweaveError, clipped
from skyweave.io.bounded import LIMIT
from skyweave.io.table_roles import ALIASES, bare_name

__all__ = ["read_sheet"]

PROLOGUE = 40
ROLES = frozenset(alias for aliases in ALIASES.values() for alias in aliases) | {
    "hour",
    "year",
    "month",
    "day",
}


def read_sheet(raw: bytes, path: str) -> pd.DataFrame:
    """Cells of the first sheet of an .xlsx file; ``.attrs["notes"]`` names other sheets and lines above the heading.

    Args:
        raw: bytes of the file.
        path: for messages.

    Raises:
        SkyweaveError: openpyxl is missing, the file is damaged, unpacks to too much, or is empty.
    """
    try:
        import openpyxl  # noqa: F401
    except ImportError:
        raise SkyweaveError(
            f"{path}: is a spreadsheet, which openpyxl reads: pip install 'skyweave[excel]', or save it as CSV"
        ) from None
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LIMIT // 4:
            raise SkyweaveError(
                f"{path}: unpacks to {size / 1024**2:.0f} MiB, too large a spreadsheet; save it as CSV"
            )
        book = pd.ExcelFile(io.BytesIO(raw), engine="openpyxl")
        cells = book.parse(
            book.sheet_names[0], header=None, dtype=object, keep_default_na=False, na_values=[""]
        )
    except SkyweaveError:
        raise
    except Exception as exc:
        raise SkyweaveError(
            f"{path}: is a damaged spreadsheet ({type(exc).__name__}: {exc}); save it again"
        ) from exc
    notes = []
    if len(book.sheet_names) > 1:
        others = ", ".join(clipped(str(n), 30) for n in book.sheet_names[1:6])
        notes.append(f"sheet {book.sheet_names[0]!r} is read, not {others}")
    cells = cells.dropna(how="all").dropna(how="all", axis=1).reset_index(drop=True)
    if cells.empty:
        raise SkyweaveError(f"{path}: its first sheet, {book.sheet_names[0]!r}, is empty")
    start = next((n for n in range(min(len(cells), PROLOGUE)) if _named(cells.iloc[n]) >= 2), 0)
    if start:
        notes.append(f"{start} lines above the heading left out")
    heading = [str(c).strip() if pd.notna(c) else f"column {k + 1}" for k, c in enumerate(cells.iloc[start])]
    frame = cells.iloc[start + 1 :].reset_index(drop=True)
    frame.columns = pd.Index(heading)
    frame.attrs = {"source": path, "notes": tuple(notes)}
    return frame


def _named(row: pd.Series) -> int:
    return sum(bare_name(str(cell)) in ROLES for cell in row.dropna())
