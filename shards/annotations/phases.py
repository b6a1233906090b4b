"""Phase truth: which phase every frame of a clip shows; read by the phase and alignment studies, never by training."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from shards.annotations.base import sanitise_key


def phase_table(rows: Sequence[tuple[str, Sequence[int]]], names: Sequence[str]) -> pa.Table:
    """Make the table of (clip name, phase of every frame); phase -1 = the frame has none.

    Columns key (string), phases (list<int32>); schema metadata `finepseudo` = JSON {"phases": [names]}, empty when the
    phases have numbers only.
    """
    schema = pa.schema(
        [("key", pa.string()), ("phases", pa.list_(pa.int32()))],
        metadata={"finepseudo": json.dumps({"phases": list(names)})},
    )
    ordered = sorted((sanitise_key(name), list(phases)) for name, phases in rows)
    return pa.table({"key": [key for key, _ in ordered], "phases": [phases for _, phases in ordered]}, schema=schema)
