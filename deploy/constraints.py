"""Writes constraints.txt from the environment this runs in: ``python deploy/constraints.py > constraints.txt``.

Every distribution is pinned exactly, local versions (``+cpu``) cut off so that any build of it will do.  What needs a
newer Python than the oldest supported gets a marker, so that pip may choose an older release there.
"""

from __future__ import annotations

from importlib.metadata import distributions

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

LEFT_OUT = {"engram-kie", "pip", "setuptools", "wheel"}
OLDEST = "3.10"


def main() -> None:
    print("# Exact versions of a tested environment (Python 3.11).  Made by: make constraints")
    pins = {}
    for dist in distributions():
        name = canonicalize_name(dist.name)
        if name in LEFT_OUT:
            continue
        needs = SpecifierSet(dist.metadata["Requires-Python"] or "")
        marker = "" if f"{OLDEST}.99" in needs else ' ; python_version >= "3.11"'
        pins[name] = f"{name}=={dist.version.partition('+')[0]}{marker}"
    print("\n".join(pins[name] for name in sorted(pins)))


if __name__ == "__main__":
    main()
