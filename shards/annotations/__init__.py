"""One small module a data set; each has `read(cfg) -> Annotations` and `files(cfg)`, the files that it reads.

Beside them: the clip table (`base`), which data set to read (`config`) and what several readers share. May import
`sources`, `synthetic`, `files` and `errors`; never a split or a shard.
"""

from __future__ import annotations

import importlib
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, get_args

from shards.annotations.config import DataName, DatasetConfig
from shards.errors import UserError

if TYPE_CHECKING:  # the settings beside it must load without tables
    import pyarrow as pa

    from shards.annotations.base import Annotations

DATASETS: tuple[str, ...] = get_args(DataName)

SPECIAL_OPTIONS = ("version", "subset", "task", "split", "cut_from")
"""Options that only some readers know; those name theirs in OPTIONS."""


def load(cfg: DatasetConfig) -> Annotations:
    """Read the data set that `cfg.name` names: its module is `shards.annotations.<name>`."""
    from shards.annotations.open_world import open_world

    module = _module(cfg)
    _refuse_unused(cfg, getattr(module, "OPTIONS", ()))
    annotations: Annotations = module.read(cfg)
    return open_world(annotations, cfg.open_world) if cfg.open_world.known else annotations


def load_phases(cfg: DatasetConfig) -> pa.Table:
    """Load the phase of every frame of every clip (see `shards.annotations.phases`), where a data set tells them."""
    read = getattr(_module(cfg), "read_phases", None)
    if read is None:
        raise UserError(f"data.name = {cfg.name}: tells no phases of frames; penn_action does")
    return read(cfg)


def annotation_files(cfg: DatasetConfig) -> list[Path]:
    """List the files that `load` reads, also those that are not there: a change of one is another data set."""
    found: list[Path] = _module(cfg).files(cfg)
    return found


def _module(cfg: DatasetConfig) -> ModuleType:
    return importlib.import_module(f"shards.annotations.{cfg.name}")


def _refuse_unused(cfg: DatasetConfig, options: tuple[str, ...]) -> None:
    """Refuse an option that this data set would silently ignore."""
    for option in fields(cfg):
        if (
            option.name in SPECIAL_OPTIONS
            and option.name not in options
            and getattr(cfg, option.name) != option.default
        ):
            raise UserError(f"data.{option.name}: {cfg.name} does not use it; remove it from the recipe")
