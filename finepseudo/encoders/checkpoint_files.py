"""Published checkpoints, read from a file given by path as tensors and nothing else. Nothing is downloaded.

Torch files are read with torch's restricted unpickler. What trainers leave beside the tensors (settings, a gradient
scaler, paths, NumPy scalars) is named in `HARMLESS` and replaced by an empty stand-in, so that none of its code runs.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from finepseudo.encoders.torchscript import is_torchscript, read_torchscript
from shards.errors import UserError
from shards.files import sha256_file

NETWORKS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "bb_state_dict",
    "online_backbone",
    "online_network_state_dict",
    "network",
    "ema_state_dict",
)
"""Names under which trainers keep the tensors, by preference."""

MAX_DEPTH = 4
"""Tables inside tables that are followed to reach the tensors."""


class StandIn:
    """Takes the place of an object whose type is harmless; it keeps and runs nothing."""

    def __new__(cls, *_arguments: object, **_named: object) -> StandIn:
        """Make an empty one, whatever it is made from."""
        return object.__new__(cls)

    def __init__(self, *_arguments: object, **_named: object) -> None:
        """Keep nothing."""

    def __setstate__(self, _state: object) -> None:
        """Keep nothing."""


_SCALERS = ("GradScaler", "OptState", "_refresh_per_optimizer_state")
HARMLESS: Mapping[str, type] = {
    **dict.fromkeys(
        (
            "argparse.Namespace",
            "types.SimpleNamespace",
            *(f"pathlib.{kind}{name}" for kind in ("", "Pure") for name in ("Path", "PosixPath", "WindowsPath")),
            *(f"pathlib._local.{name}" for name in ("Path", "PosixPath", "WindowsPath")),
            *(f"torch.{module}.grad_scaler.{name}" for module in ("cuda.amp", "amp") for name in _SCALERS),
            *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
            "numpy.dtype",
            "numpy.ndarray",
            "_codecs.encode",
            "collections.defaultdict",
            "datetime.datetime",
            "datetime.timedelta",
            "torch.device",
        ),
        StandIn,
    ),
    "easydict.EasyDict": OrderedDict,
    "yacs.config.CfgNode": OrderedDict,
}
"""Types beside the tensors that are let in, and what stands for them."""


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], str]:
    """Read the tensors of a checkpoint by name, and the SHA-256 of its file.

    Raises UserError, in one line, if the file is missing, cut, damaged, holds code or holds no table of tensors.
    """
    file = Path(path)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "no such file"
        raise UserError(f"weights {file}: {what}; give the path of a downloaded checkpoint")
    try:
        tensors = network_tensors(_content(file))
        broken = [name for name, value in tensors.items() if not _sound(value)]
    except Exception as error:  # a damaged or hostile file may raise anything
        raise UserError(
            f"weights {file}: not loadable as plain tensors ({_first_line(error)}); {_advice(file)}"
        ) from error
    if not tensors:
        raise UserError(f"weights {file}: holds no table of names and tensors; expected a state_dict")
    if broken:
        raise UserError(
            f"weights {file}: {len(broken)} tensors hold NaN, infinity or fewer numbers than their shape says, first "
            f"{broken[0]}; take another file"
        )
    return tensors, sha256_file(file)


def _sound(value: Tensor) -> bool:
    """Tell whether a tensor is plain, holds all the numbers of its shape, and only finite ones."""
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        return False
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():  # strides of 0: a bomb of memory
        return False
    return bool(value.isfinite().all())


def _content(file: Path) -> object:
    if file.suffix == ".safetensors":
        return load_file(file)
    _refuse_changed_bytes(file)
    if is_torchscript(file):
        return read_torchscript(file)
    allowed: list[Any] = [(stand_in, name) for name, stand_in in HARMLESS.items()]
    with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected pickle protocol")  # it was saved so; it reads well
        return torch.load(file, map_location="cpu", weights_only=True)


def _refuse_changed_bytes(file: Path) -> None:
    """Compare the parts of a zip archive, the form of torch.save, with their checksums: torch itself does not."""
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        if (part := archive.testzip()) is not None:
            raise ValueError(f"the bytes of {part} are not the ones that were written")


def _first_line(error: Exception) -> str:
    """Say what torch found, without its advice to trust the file."""
    text = str(error).strip() or type(error).__name__
    if "GLOBAL " in text:
        return f"it names {text.split('GLOBAL ', 1)[1].split()[0]}, which is code"
    if "Unsupported operand" in text:
        return "it is no checkpoint of torch, or was saved with another pickle protocol than torch's"
    return re.split(r"\. (?=[A-Z])", text.splitlines()[0], maxsplit=1)[0][:160]


def _advice(file: Path) -> str:
    if file.suffix != ".safetensors" and not zipfile.is_zipfile(file):
        return "download it again if it is cut short; files that hold code are refused"
    return "download it again, or convert it to safetensors if it holds code"


def network_tensors(content: object, depth: int = 0) -> dict[str, Tensor]:
    """Find the tensors in nested tables: under the names in `NETWORKS`, else in every table, joined by dots."""
    if not isinstance(content, Mapping) or depth > MAX_DEPTH:
        return {}
    for name in NETWORKS:
        inner = content.get(name)
        if isinstance(inner, Mapping) and (tensors := network_tensors(inner, depth + 1)):
            return tensors
    return dict(_flat(content, "", depth))


def _flat(content: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    for name, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, Mapping) and depth < MAX_DEPTH and not str(name).startswith("optim"):
            yield from _flat(value, f"{prefix}{name}.", depth + 1)
