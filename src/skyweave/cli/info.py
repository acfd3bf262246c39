"""``skyweave info``."""

from __future__ import annotations

from pathlib import Path


def info(file: Path, /) -> None:
    """Describe a prior, an emulator, a downscaler or an output.

    Parameters
    ----------
    file
        A prior, an emulator, a downscaler or its encoder (.safetensors), the name of a prior that comes with
        the package, or an output (.zarr or .nc).
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
    from skyweave.cli.describe import describe_output
    from skyweave.io.read import open_fields

    print("\n".join(describe_output(open_fields(file))))
