"""``skyweave info``."""

from __future__ import annotations

from pathlib import Path


def info(file: Path, /) -> None:
    """Describe a prior, an emulator, a downscaler, an output, or data of any kind that is read.

    Parameters
    ----------
    file
        A prior, an emulator, a downscaler or its encoder (.safetensors), the name of a prior that comes with
        the package, an output (.zarr or .nc), other gridded data, or a file of reports (CSV, .xlsx, BUFR, ...).
    """
    from skyweave.errors import SkyweaveError
    from skyweave.prior.storage import shipped

    file = shipped(file)
    if not file.exists():
        raise SkyweaveError(f"{file}: no such file")
    if file.suffix == ".safetensors":
        from skyweave import open_prior
        from skyweave.cli.describe import describe_prior
        from skyweave.io.tensors import read_tensors

        header, tensors = read_tensors(file, "a prior, an emulator or a downscaler")
        if header.get("kind") in ("downscaler", "transfer encoder"):
            from skyweave.cli.downscale import described as told
            from skyweave.downscale.storage import check_header

            check_header(header, tensors, file)
            weights = sum(t.numel() for t in tensors.values())
            print("\n".join([str(file), *told(header, weights)]))
            return
        if header.get("kind") == "emulator":
            from skyweave.cli.emulate import described
            from skyweave.emulate.emulator import open_emulator

            print("\n".join([str(file), *described(open_emulator(file))]))
            return
        print("\n".join([str(file), *describe_prior(open_prior(file), full=True)]))
        return
    if file.suffix.lower() in (".yaml", ".yml"):
        raise SkyweaveError(
            f"{file}: is YAML; `skyweave check {file}` describes the settings of a reconstruction, other settings are "
            "checked by the command that takes them"
        )
    print("\n".join(described_data(file)))


def described_data(file: Path) -> list[str]:
    """Gridded data, or reports, by what is in the file; cells without axes are reports.

    Raises:
        SkyweaveError: it is neither.
    """
    from skyweave.cli.describe import describe_output, describe_reports
    from skyweave.errors import NotRectilinearError, SkyweaveError
    from skyweave.io.read import open_fields
    from skyweave.io.reports import kind_of, read_reports, reader_notes

    told = []
    if file.is_dir() or kind_of(str(file)) in ("samples", "grib"):
        try:
            return describe_output(open_fields(file))
        except NotRectilinearError as error:
            told = [f"  {error}"]
        except SkyweaveError:
            if not _is_sampled(file):
                raise
    table = read_reports(file)
    return [str(file), *describe_reports(table), *(f"  {text}" for text in reader_notes(table)), *told]


def _is_sampled(file: Path) -> bool:
    from skyweave.io.formats import open_one
    from skyweave.io.sampled import is_sampled

    with open_one(str(file)) as ds:
        return is_sampled(ds)
