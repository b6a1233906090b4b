"""Shard folders changed behind their owner's back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards.files import sha256_file


def change_rows(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change every row of the manifest and make manifest.json agree, as an attacker or a bug would."""
    rows = pq.ParquetFile(folder / "manifest.parquet").read()
    table = pa.Table.from_pylist([change(row) for row in rows.to_pylist()], schema=rows.schema)
    pq.write_table(table, folder / "manifest.parquet")
    info = json.loads((folder / "manifest.json").read_text())
    info["manifest_sha256"] = sha256_file(folder / "manifest.parquet")
    (folder / "manifest.json").write_text(json.dumps(info))
