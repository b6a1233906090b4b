"""TorchScript archives, the form in which CLIP was published: their tensors alone.

`torch.jit.load` would compile the archive's code. Here its table of attributes is read by an unpickler that knows
tensors and plain containers; modules of the archive become tables of their attributes, and no code is looked at.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


class _Module:
    """Attributes of one module of the archive."""

    attributes: dict[str, Any]

    def __setstate__(self, state: object) -> None:
        self.attributes = state if isinstance(state, dict) else {}


def is_torchscript(file: Path) -> bool:
    """Tell a TorchScript archive from a file of torch.save: only the former has a table of constants."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(file: Path) -> dict[str, Tensor]:
    """Read the named tensors of an archive. Raises whatever a damaged archive brings; see read_checkpoint."""
    with zipfile.ZipFile(file) as archive:
        root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
        content = _Unpickler(archive, root).load()
    return dict(_tensors(content, ""))


def _tensors(value: object, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, _Module):
        for key, inner in getattr(value, "attributes", {}).items():
            yield from _tensors(inner, f"{name}.{key}" if name else str(key))


class _Unpickler(pickle.Unpickler):
    """Restricted unpickler of an archive's `data.pkl`."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}data.pkl")))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> type | Callable[..., Any] | str:
        if module == "torch" and name in _DTYPES:
            return name
        if module.startswith("__torch__"):
            return _Module
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return _as_it_is
        raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")

    def persistent_load(self, pid: tuple[str, str, str, str, int]) -> Tensor:
        _, storage, key, _, count = pid
        return torch.frombuffer(bytearray(self.archive.read(f"{self.root}data/{key}")), dtype=_DTYPES[storage])[:count]


def _rebuilt(storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> Tensor:
    return storage.as_strided(list(size), list(stride), offset)


def _as_it_is(value: object, *_: object) -> object:
    return value
