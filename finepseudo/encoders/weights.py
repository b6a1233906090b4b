"""Published checkpoints: read safely from a file given by path, with the file's hash recorded.

Nothing is downloaded. Layouts: torchvision's names under any prefix (`module.`, `backbone.`,
`encoder_q.`, TCLR's `module.0.`), in safetensors or torch files.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from shards.errors import UserError
from shards.files import sha256_file

_NESTED = ("state_dict", "model", "model_state_dict")


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsRecord:
    """What a network started from: file, its SHA-256, number of tensors loaded and the names left at random."""

    path: str
    sha256: str
    loaded: int
    left_random: tuple[str, ...]


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], str]:
    """Read a state_dict and the SHA-256 of its file. Raises UserError if it is missing or not a table of tensors."""
    file = Path(path)
    if not file.is_file():
        raise UserError(f"weights {file}: no such file; give the path of a downloaded checkpoint or leave it empty")
    safe = file.suffix == ".safetensors"
    try:
        content = load_file(file) if safe else torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(
            f"weights {file}: not loadable as plain tensors ({str(error).splitlines()[0]}); "
            "files that hold code are refused, convert it to safetensors first"
        ) from error
    return _tensors(content, file), sha256_file(file)


def _tensors(content: object, file: Path) -> dict[str, Tensor]:
    for name in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping):
        raise UserError(f"weights {file}: holds {type(content).__name__}, expected a table of names and tensors")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"weights {file}: holds no tensor; expected a state_dict")
    return tensors


def strip_prefix(tensors: Mapping[str, Tensor], anchor: str, file: str | Path) -> dict[str, Tensor]:
    """Keep the entries under the prefix that the tensor `anchor` (such as `conv1.weight`) has, without that prefix.

    The shortest prefix wins, the first in the file's order among equals (`encoder_q.` stands before `encoder_k.`).
    """
    prefixes = [name.removesuffix(anchor) for name in tensors if name == anchor or name.endswith("." + anchor)]
    if not prefixes:
        raise UserError(
            f"weights {file}: no tensor named {anchor}; first name is {next(iter(tensors))}: other network?"
        )
    prefix = min(prefixes, key=len)
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def load_into(module: nn.Module, path: str | Path, anchor: str, optional: tuple[str, ...] = ()) -> WeightsRecord:
    """Load a checkpoint file into `module`; every tensor must fit except those whose name starts with `optional`.

    `anchor` names a tensor that tells the prefix. An `optional` tensor (a classification head) that is missing or of
    another shape stays random and is named in the record. Anything else missing, surplus or misshapen is a UserError.
    """
    raw, sha256 = read_checkpoint(path)
    given, wanted = strip_prefix(raw, anchor, path), module.state_dict()
    given = {name: value for name, value in given.items() if not _spare(name, value, wanted, optional)}
    missing = [name for name in wanted if name not in given]
    bad = [name for name in missing if not name.startswith(optional) and not name.endswith("num_batches_tracked")]
    bad += [f"{name} (surplus)" for name in given if name not in wanted]
    bad += [
        f"{name} {tuple(value.shape)} instead of {tuple(wanted[name].shape)}"
        for name, value in given.items()
        if name in wanted and value.shape != wanted[name].shape
    ]
    if bad:
        raise UserError(
            f"weights {path}: {len(bad)} tensors do not fit {type(module).__name__}: {', '.join(bad[:4])} .."
        )
    module.load_state_dict(given, strict=False)
    left = tuple(name for name in missing if name.startswith(optional))
    return WeightsRecord(path=str(path), sha256=sha256, loaded=len(given), left_random=left)


def _spare(name: str, value: Tensor, wanted: Mapping[str, Tensor], optional: tuple[str, ...]) -> bool:
    """Tell whether a given tensor is a head that may be left out because it does not fit."""
    return name.startswith(optional) and (name not in wanted or wanted[name].shape != value.shape)
