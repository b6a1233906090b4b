"""Open world: some classes are known, others are novel and occur only among the unlabelled clips.

Known classes come first in the new numbering, so a head with `known` outputs fits, and a label >= known is novel.
Test clips of novel classes are left out: the paper tests on known classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from shards.annotations.base import Annotations
from shards.annotations.config import OpenWorldConfig
from shards.errors import UserError
from shards.types import NO_LABEL


def draw_classes(populated: Sequence[str], cfg: OpenWorldConfig) -> tuple[list[str], list[str]]:
    """Draw (known, novel) class names, each sorted as given. Raises UserError when there are too few classes."""
    novel = cfg.novel or len(populated) - cfg.known
    if cfg.known + novel > len(populated) or novel < 1:
        raise UserError(
            f"data.open_world: {cfg.known} known and {max(novel, 1)} novel classes are wanted, only {len(populated)} "
            "classes have training clips; lower known or novel"
        )
    order = sorted(populated, key=lambda name: hashlib.sha256(f"{cfg.seed}\t{name}".encode()).digest())
    known, novel_names = set(order[: cfg.known]), set(order[cfg.known : cfg.known + novel])
    return [name for name in populated if name in known], [name for name in populated if name in novel_names]


def open_world(ann: Annotations, cfg: OpenWorldConfig) -> Annotations:
    """Renumber the classes (known first, then novel) and keep novel clips only where they can be unlabelled.

    Clips of undrawn classes and novel test clips go; novel clips of a labelled list become unlabelled.
    """
    labels = ann.clips.column("label").to_numpy().astype(np.int64)
    roles = np.array(ann.clips.column("role").to_pylist(), dtype=object)
    trained = set(labels[(roles != "test") & (labels != NO_LABEL)].tolist())
    known, novel = draw_classes([name for i, name in enumerate(ann.classes) if i in trained], cfg)
    names = known + novel
    renumber = np.full(len(ann.classes) + 1, NO_LABEL - 1)  # the last entry serves NO_LABEL itself
    renumber[NO_LABEL] = NO_LABEL
    position = {name: index for index, name in enumerate(ann.classes)}
    renumber[[position[name] for name in names]] = np.arange(len(names))
    new = renumber[labels]
    is_novel = new >= len(known)
    roles[is_novel & (roles == "labelled")] = "unlabelled"
    keep = (new >= NO_LABEL) & ~(is_novel & (roles == "test"))
    clips = ann.clips.set_column(ann.clips.schema.get_field_index("label"), "label", pa.array(new, pa.int32()))
    clips = clips.set_column(clips.schema.get_field_index("role"), "role", pa.array(roles.tolist(), pa.string()))
    version = f"{ann.version}+open{len(known)}/{len(novel)}"
    return replace(ann, clips=clips.filter(pa.array(keep)), classes=names, version=version, known=len(known))
