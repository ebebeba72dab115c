"""Data files of installed packages, found without importing the packages."""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from kie_ops.errors import InputError

EXTRA = "pip install 'engram-kie[vocabularies]'"


def installed(package: str) -> Distribution:
    """The distribution `package`.  Raises InputError where it is not installed, with the command that installs it."""
    try:
        return distribution(package)
    except PackageNotFoundError:
        raise missing(package) from None


def data_file(package: str, path: str) -> Path:
    """The file `path` (below site-packages) of `package`.  Raises InputError where either is missing."""
    file = Path(str(installed(package).locate_file(path)))
    if not file.is_file():
        raise InputError(f"{package} {version(package)} has no such file", where=path,
                         next_step="install the version that constraints.txt names")
    return file


def version(package: str) -> str:
    """The installed version of `package`."""
    return installed(package).version


def missing(package: str) -> InputError:
    """What is said where an optional package is not installed."""
    return InputError(f"this vocabulary is in the package {package}, which is not installed", next_step=EXTRA)
