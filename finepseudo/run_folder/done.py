"""What decides whether a stage is done, and its record: the last thing that a stage writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from finepseudo.run_folder.files import read_json, sha256_file, sha256_json, write_json
from shards.errors import UserError
from shards.files import TEMPORARY_SUFFIX

DONE = "DONE.json"
STARTED = "STARTED.json"
Change = tuple[str, Any, Any]
"""Dotted key, what it was, what it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What decides whether a stage is done.

    kind: what it does (`embeddings`); folder: where it writes; config: what its results depend on of the
    configuration, flat (dotted key -> plain value); inputs: DONE records of earlier stages, or files from outside;
    outputs: patterns below `folder` of the files that are hashed into the record; scratch: patterns of what else it may
    leave there (checkpoints, logs).
    """

    kind: str
    folder: Path
    config: Mapping[str, Any]
    inputs: Mapping[str, Path]
    outputs: Sequence[str]
    scratch: Sequence[str] = ()

    @property
    def record(self) -> Path:
        """The DONE record."""
        return self.folder / DONE

    def missing(self) -> list[Path]:
        """List the inputs that do not exist yet."""
        return [path for path in self.inputs.values() if not path.exists()]

    def key(self) -> dict[str, Any]:
        """Hash the configuration part and every input. All inputs must exist."""
        inputs = {name: _input_hash(path) for name, path in sorted(self.inputs.items())}
        return {"stage": self.kind, "config_sha256": sha256_json(self.config), "inputs": inputs}


def _input_hash(path: Path) -> str:
    """Hash what an earlier stage has written, not when it did so; a file by its bytes, a folder by the names in it."""
    if path.is_dir():
        return sha256_json(sorted(found.relative_to(path).as_posix() for found in path.rglob("*")))
    return sha256_json(read_json(path)["outputs"]) if path.name == DONE else sha256_file(path)


def _matches(path: Path, key: Mapping[str, Any]) -> bool:
    if not path.exists():
        return False
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(record, dict) and all(record.get(name) == value for name, value in key.items())


def _output_files(stage: Identity) -> dict[str, Path]:
    found = (path for pattern in stage.outputs for path in sorted(stage.folder.glob(pattern)))
    return {path.relative_to(stage.folder).as_posix(): path for path in found if path.is_file()}


def hash_outputs(stage: Identity) -> dict[str, str]:
    """Hash what a stage has written; `UserError` when one of its outputs is missing."""
    for pattern in stage.outputs:
        if not any(stage.folder.glob(pattern)):
            raise UserError(f"{stage.folder}: {stage.kind} ended without {pattern}; type the same command again")
    return {name: sha256_file(path) for name, path in _output_files(stage).items()}


def is_done(stage: Identity) -> bool:
    """Tell whether the DONE record exists and still matches configuration, inputs and outputs."""
    if stage.missing() or not _matches(stage.record, stage.key()):
        return False
    recorded, present = read_json(stage.record)["outputs"], _output_files(stage)
    return set(recorded) == set(present) and all(sha256_file(present[name]) == sha for name, sha in recorded.items())


def is_started(stage: Identity) -> bool:
    """Tell whether a run of exactly this stage was begun and may go on."""
    return not stage.missing() and _matches(stage.folder / STARTED, stage.key())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def deleted_by(stage: Identity) -> list[Path]:
    """List the files and folders that are removed when the stage begins with another configuration or other inputs."""
    patterns = (*stage.outputs, *stage.scratch, f".*{TEMPORARY_SUFFIX}")
    return [path for pattern in patterns for path in sorted(stage.folder.glob(pattern))]


def changed_keys(stage: Identity, record: Mapping[str, Any]) -> list[Change]:
    """List the keys with which a record was made and that now differ; none where it does not say."""
    return (
        differences(record["config"], json.loads(json.dumps(stage.config, default=str))) if "config" in record else []
    )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """List the keys of two flat mappings that differ."""
    return [(key, old.get(key), new.get(key)) for key in sorted({*old, *new}) if old.get(key) != new.get(key)]


def begin(stage: Identity) -> bool:
    """Make the folder ready to run the stage; return True when a started run of exactly this stage may go on.

    Whatever belongs to another configuration or other inputs is removed first, its DONE record before all else.
    """
    key = stage.key()
    stage.record.unlink(missing_ok=True)
    if _matches(stage.folder / STARTED, key):
        return True
    (stage.folder / STARTED).unlink(missing_ok=True)
    for path in deleted_by(stage):
        _remove(path)
    write_json(stage.folder / STARTED, key)
    return False


def finish(stage: Identity, *, wall_s: float, code_version: str) -> None:
    """Write the DONE record: the last thing a stage does."""
    record = {**stage.key(), "outputs": hash_outputs(stage), "code_version": code_version, "wall_s": round(wall_s, 3)}
    record["finished_at"] = datetime.now().astimezone().isoformat(timespec="milliseconds")
    write_json(stage.record, {**record, "config": dict(stage.config)})
    (stage.folder / STARTED).unlink(missing_ok=True)
