"""Read published pickles without running anything they name.

A pickle is a program: whoever wrote it chooses what is called. The annotation pickles of the data sets hold dicts,
lists, strings, numbers and numpy arrays, so only numpy's array, scalar and dtype are understood here. Even those are
never called: stand-ins check what they are given and build the values. Any other name is refused by name.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from shards.errors import UserError

Raw: TypeAlias = Any
"""What a pickle held, before its reader checks it."""

_PLAIN_DTYPE = re.compile(r"(b1|[iuf][1248]|[SU]\d{1,4}|O8?)")
_NUMPY_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")


class _Dtype:
    """Stand-in of `numpy.dtype`: one plain type code and its byte order."""

    def __init__(self, code: str, *_: object) -> None:
        if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
            raise pickle.UnpicklingError(f"numpy dtype {code!r} is not a plain number or string type")
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order, parts = state[1], state[2:5]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in parts):
            raise pickle.UnpicklingError("structured numpy dtypes are not allowed")
        self.order = order

    def real(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Ndarray:
    """Stand-in of `numpy.ndarray`; `value` is filled by the state that follows it in the pickle."""

    value: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        if dtype.code.startswith("O"):
            flat = np.empty(len(raw), dtype=object)
            flat[:] = raw
        else:
            flat = np.frombuffer(bytes(raw), dtype=dtype.real())
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _reconstruct(kind: type, *_: object) -> _Ndarray:
    if kind is not _Ndarray:
        raise pickle.UnpicklingError(f"array of type {kind!r} is not allowed")
    return _Ndarray()


def _scalar(dtype: _Dtype, raw: bytes) -> Raw:
    kind = dtype.real()
    return np.frombuffer(raw, dtype=kind, count=1)[0].item() if kind.itemsize else kind.type()


_ALLOWED: dict[tuple[str, str], Any] = {("numpy", "dtype"): _Dtype, ("numpy", "ndarray"): _Ndarray}
for _core in _NUMPY_CORES:
    _ALLOWED[(_core, "_reconstruct")] = _reconstruct
    _ALLOWED[(_core, "scalar")] = _scalar


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Raw:
        """Return the stand-in of an allowed name; refuse every other name."""
        try:
            return _ALLOWED[(module, name)]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not allowed") from None


def _plain(value: Raw) -> Raw:
    """Replace the array stand-ins inside dicts, lists and tuples by numpy arrays (objects inside arrays too)."""
    if isinstance(value, _Ndarray):
        value = value.value
        return [_plain(item) for item in value.tolist()] if value is not None and value.dtype == object else value
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    return value


def load_restricted(path: Path) -> Raw:
    """Load a pickle that may hold plain Python values and numpy arrays, scalars and dtypes; nothing else.

    Numpy scalars come back as Python numbers, arrays of objects as lists. Raises UserError when the file cannot be
    opened, is damaged, or names anything that is not on the list (the name is in the message).
    """
    try:
        with path.open("rb") as file:
            return _plain(_Unpickler(file).load())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be opened ({error.strerror}); give the path of the annotation pickle"
        ) from error
    except Exception as error:  # a damaged pickle can raise nearly anything; each is a damaged file
        raise UserError(
            f"{path}: refused: {error or type(error).__name__}; only pickles of plain values and numpy arrays are "
            "read, so get the file again from its authors"
        ) from error
