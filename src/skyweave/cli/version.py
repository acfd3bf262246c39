"""``skyweave version``."""

from __future__ import annotations

PACKAGES = ("skyweave", "torch", "numpy", "scipy", "xarray", "zarr", "h5netcdf", "pandas")


def version() -> None:
    """Print the versions of skyweave and of what it stands on."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    for name in PACKAGES:
        try:
            found = installed(name)
        except PackageNotFoundError:
            found = "not installed"
        print(f"{name:<10} {found}")
    print(f"{'python':<10} {platform.python_version()} on {platform.system()} {platform.machine()}")
