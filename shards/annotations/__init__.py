"""One small module a data set; each has `read(cfg) -> Annotations`."""

from __future__ import annotations

import importlib

from shards.annotations.base import Annotations, DatasetConfig
from shards.types import UserError

DATASETS = ("csv", "diving48", "synthetic_diving")


def load(cfg: DatasetConfig) -> Annotations:
    """Read the data set that `cfg.name` names: its module is `shards.annotations.<name>`."""
    if cfg.name not in DATASETS:
        raise UserError(f"data.name: {cfg.name} is not a data set; choose one of {', '.join(DATASETS)}")
    module = importlib.import_module(f"shards.annotations.{cfg.name}")
    annotations: Annotations = module.read(cfg)
    return annotations
