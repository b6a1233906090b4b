"""On what a run ran: the code, the machine, the versions of what decides the numbers."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any


def code_version(packages: Sequence[Path]) -> str:
    """Identify the code that runs: the version and a hash of the packages' source files."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    try:
        version = metadata.version("finepseudo")
    except metadata.PackageNotFoundError:
        version = "source"
    return f"{version}+{digest.hexdigest()[:12]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """On what a run ran."""

    code_version: str
    python: str
    platform: str
    host: str
    cpus: int
    device: str
    packages: Mapping[str, str]
    command: Sequence[str]


def environment(code: str, device: str) -> dict[str, Any]:
    """Describe this machine and the versions of what decides the numbers."""
    names = ("torch", "torchvision", "numpy", "pyarrow", "ray", "av", "webdataset", "nvidia-dali-cuda120", "submitit")
    versions = {name: _version(name) for name in names}
    return asdict(
        Environment(
            code_version=code,
            python=platform.python_version(),
            platform=platform.platform(),
            host=platform.node(),
            cpus=os.cpu_count() or 1,
            device=device,
            packages={name: version for name, version in versions.items() if version},
            command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        )
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
