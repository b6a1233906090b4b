"""Small tables of clips and items."""

from collections.abc import Mapping

import numpy as np

from shards.annotations.base import Annotations, Clip, make_annotations
from shards.types import ItemTable


def make(rows, n_classes=3, dataset="toy", version="1") -> Annotations:
    """Clips from (name, label, role, source) rows; paths are `/v/<name>.mp4`."""
    clips = [
        Clip(name=name, path=f"/v/{name}.mp4", label=label, role=role, source=source)
        for name, label, role, source in rows
    ]
    return make_annotations(clips, [f"class{i}" for i in range(n_classes)], dataset, version)


def column(table, name):
    """One column as a list."""
    return table.column(name).to_pylist()


def labelled(labels: Mapping[str, int]) -> ItemTable:
    """Items with true labels, key -> label."""
    values = np.fromiter(labels.values(), np.int32, len(labels))
    return ItemTable(keys=list(labels), labels=values, pseudo=np.zeros(len(labels), bool))
