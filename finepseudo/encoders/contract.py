"""What a backbone's row says: its builder, the published weights that fit it, the frames those weights expect.

Nothing here imports torch, so that the command line knows every row without it; builders are named by import path.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from shards.errors import UserError

Kind = Literal["action", "frame"]
Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """Frames that a network was trained on: channel order, normalisation of [0, 1], side in pixels, frames a clip."""

    channels: Literal["rgb", "bgr"] = "rgb"
    mean: Triple = (0.485, 0.456, 0.406)
    std: Triple = (0.229, 0.224, 0.225)
    size: int = 224
    frames: int | None = None
    # frames between two frames of a dense clip
    stride: int | None = None
    # position codes are tied to the size, or to the number of frames
    fixed_size: bool = False
    fixed_frames: bool = False

    def colours(self) -> str:
        """Say channel order and normalisation in the words of the recipe."""
        raw = not any(self.mean) and self.std == (1.0, 1.0, 1.0)
        words = f"{self.channels.upper()} in [0, 1]" if raw else f"normalised {self.channels.upper()}"
        return f"{words}: channels {self.channels}, mean {list(self.mean)}, std {list(self.std)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How one publisher names the tensors of a backbone.

    `anchor` is a tensor, in the file's names, that every such file has: what stands before it is the prefix of the
    network. Where several networks of a file have it, `prefers` says which prefix wins, by words in it.
    """

    name: str
    anchor: str
    prefers: tuple[str, ...] = ()
    # (pattern, replacement) of whole names, without the prefix; the first that matches counts
    renames: tuple[tuple[str, str], ...] = ()
    # patterns of names that are no part of the backbone: heads, projectors, a text tower
    drops: tuple[str, ...] = (r"fc\.", r"head\.")
    # patterns of names outside the prefix that belong to the network all the same
    beside: tuple[str, ...] = ()
    # `module:function` (tensors, network) -> tensors, for what renaming cannot do
    convert: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One kind of published weights of a backbone."""

    about: str
    layouts: tuple[Layout, ...]
    # None: whatever the recipe says
    expects: Expected | None
    # what the builder is told, because these weights need that form of the network
    options: Mapping[str, Any] = field(default_factory=dict)
    # patterns of the network's own tensors that no such file holds; they keep their start
    fresh: tuple[str, ...] = ()
    # the file holds a whole f_A, not its image encoder alone
    whole: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Backbone:
    """One row of the table.

    `builder`, a `module:function`, is called with `options`, those of the weights and those of the recipe over one
    another, and returns a module with `width` (D): a video [B, 3, T, H, W] to [B, D] for f_E, frames [N, 3, H, W] to
    [N, D] for f_A. Its method `freeze_trunk`, where it has one, freezes what published weights leave as it is; a random
    start trains everything. Its method `undecayed`, where it has one, gives the parameters without weight decay.
    """

    kind: Kind
    builder: str
    published: Mapping[str, Published] = field(default_factory=dict)
    # frames of a random start
    expects: Expected | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    # f_E: has the outputs of four stages to show (see `finepseudo.encoders.stages`)
    staged: bool = False
    # f_E: takes groups of frames, each with a time code of its own (see `finepseudo.consistency.grouped`)
    grouped: bool = False
    # f_A: sizes of what stands on the image encoder
    sizes: Mapping[str, int] = field(default_factory=dict)


def imported(path: str) -> Any:  # noqa: ANN401
    """Import `module:name`. Raises UserError that says what is wrong with it."""
    module, colon, name = path.partition(":")
    if not colon or not name or not all(module.split(".")):
        raise UserError(f"{path}: is no import path; write module:name")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise UserError(f"{path}: cannot be imported ({error}, which it imports)") from error
        rule = "the folder that it lies in has to be on PYTHONPATH"
        raise UserError(f"{path}: cannot be imported ({error}); {rule}") from error
    except Exception as error:  # the module is the user's: importing it may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be imported ({reason})") from error


def code_of(modules: Iterable[str]) -> dict[str, Path]:
    """Give the source files of imported modules by a name each, as inputs of what is made with them."""
    files = {name: getattr(sys.modules[name], "__file__", None) for name in sorted(modules)}
    return {f"code of {name}": Path(file) for name, file in files.items() if file}


def modules_of(path: str) -> set[str]:
    """Name the modules that `module:name` comes from: that one, and the one that defines what it only hands on.

    This project's own are left out: they are no code of the user.
    """
    found = imported(path)
    modules = {path.partition(":")[0], getattr(found, "__module__", None) or ""}
    return {name for name in modules if name in sys.modules and name.partition(".")[0] != "finepseudo"}
