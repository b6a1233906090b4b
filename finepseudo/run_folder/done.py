"""What decides whether a stage is done, and its record: the last thing that a stage writes.

The record holds each output's hash, size and time of change. A file whose size and time are the recorded ones is taken
for the same; others are hashed, several at a time. `set_aside_damaged` hashes all.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from finepseudo.run_folder.files import sha256_file, sha256_json, write_json
from shards.errors import UserError
from shards.files import TEMPORARY_SUFFIX
from shards.files import sha256_file as hash_bytes

DONE = "DONE.json"
STARTED = "STARTED.json"
FREED = "freed"
"""In a DONE record: names of outputs that were given up (`run_folder.freed`)."""
HASHERS = 8
"""Files that are hashed at the same time."""
Change = tuple[str, Any, Any]
"""Dotted key, what it was, what it is."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output of an earlier stage, of which the others are not read: its DONE record, and the name in it."""

    record: Path
    name: str


Input = Path | Output
"""What a stage reads: the DONE record of an earlier one for all its outputs, one `Output`, or a file from outside."""


def record_of(made: Input) -> Path:
    """Give the DONE record behind an input; a file from outside stands for itself."""
    return made.record if isinstance(made, Output) else made


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What decides whether a stage is done.

    kind: what it does (`embeddings`); folder: where it writes; config: what its results depend on of the
    configuration, flat (dotted key -> plain value); inputs: what it reads; outputs: patterns below `folder` of the
    files that are hashed into the record; scratch: patterns of what else it may leave there (checkpoints, logs).
    """

    kind: str
    folder: Path
    config: Mapping[str, Any]
    inputs: Mapping[str, Input]
    outputs: Sequence[str]
    scratch: Sequence[str] = ()

    @property
    def record(self) -> Path:
        """The DONE record."""
        return self.folder / DONE

    def missing(self) -> list[Path]:
        """List the inputs that do not exist yet; a record that is cut is none."""
        return [record_of(made) for made in self.inputs.values() if not _is_there(made)]

    def key(self) -> dict[str, Any]:
        """Hash the configuration part and every input. All inputs must exist."""
        inputs = {name: _input_hash(path) for name, path in sorted(self.inputs.items())}
        return {"stage": self.kind, "config_sha256": sha256_json(self.config), "inputs": inputs}


def _is_there(made: Input) -> bool:
    if isinstance(made, Output):
        return made.name in (_read_record(made.record) or {"outputs": {}})["outputs"]
    return made.exists() if made.name != DONE else _read_record(made) is not None


def _input_hash(path: Input) -> str:
    """Hash what an earlier stage has written, not when it did so; a file by its bytes, a folder by the names in it."""
    if isinstance(path, Output):
        return str((_read_record(path.record) or {})["outputs"][path.name])
    if path.is_dir():
        return sha256_json(sorted(found.relative_to(path).as_posix() for found in path.rglob("*")))
    record = _read_record(path) if path.name == DONE else None
    return sha256_file(path) if record is None else sha256_json(record["outputs"])


def _matches(path: Path, key: Mapping[str, Any]) -> bool:
    record = _read_record(path)
    return record is not None and all(record.get(name) == value for name, value in key.items())


def _read_record(path: Path) -> dict[str, Any] | None:
    """Read a record; one that is cut or not ours counts as none: what it stood for is made again."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    whole = isinstance(record, dict) and (path.name != DONE or isinstance(record.get("outputs"), dict))
    return record if whole else None


def _output_files(stage: Identity) -> dict[str, Path]:
    found = (path for pattern in stage.outputs for path in sorted(stage.folder.glob(pattern)))
    return {path.relative_to(stage.folder).as_posix(): path for path in found if path.is_file()}


def _hashes(files: Mapping[str, Path], hasher: Callable[[Path], str] = sha256_file) -> dict[str, str]:
    with ThreadPoolExecutor(HASHERS) as pool:
        return dict(zip(files, pool.map(hasher, files.values()), strict=True))


def _stat(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def hash_outputs(stage: Identity) -> dict[str, str]:
    """Hash what a stage has written; `UserError` when one of its outputs is missing."""
    for pattern in stage.outputs:
        if not any(stage.folder.glob(pattern)):
            raise UserError(f"{stage.folder}: {stage.kind} ended without {pattern}; type the same command again")
    return _hashes(_output_files(stage))


def is_done(stage: Identity) -> bool:
    """Tell whether the DONE record exists and still matches configuration, inputs and outputs."""
    record = _record_of(stage)
    if record is None:
        return False
    gone = set(record.get(FREED, ()))
    if not gone and not all(any(stage.folder.glob(pattern)) for pattern in stage.outputs):
        return False
    return set(record["outputs"]) - gone == set(_output_files(stage)) - gone and not _damaged(stage, record)


def waits(stage: Identity) -> bool:
    """Tell whether a stage was done with this configuration and all inputs that are there: those to come decide."""
    record = _read_record(stage.record)
    if record is None or record.get("config_sha256") != sha256_json(stage.config):
        return False
    before = record.get("inputs") or {}
    there = {name: made for name, made in stage.inputs.items() if _is_there(made)}
    return (
        before.keys() == stage.inputs.keys()
        and all(before[name] == _input_hash(made) for name, made in there.items())
        and record["outputs"].keys() == _output_files(stage).keys()
        and not _damaged(stage, record)
    )


def _record_of(stage: Identity) -> dict[str, Any] | None:
    """Read the DONE record where it is one of this configuration and these inputs."""
    return None if stage.missing() or not _matches(stage.record, stage.key()) else _read_record(stage.record)


def _damaged(stage: Identity, record: Mapping[str, Any], *, verify: bool = False) -> list[Path]:
    """List the outputs that are not the recorded ones; `verify` hashes those too whose size and time are."""
    stats, files = record.get("stat", {}), _output_files(stage)
    unsure = {name: path for name, path in files.items() if verify or stats.get(name) != _stat(path)}
    found = _hashes(unsure, hash_bytes if verify else sha256_file)  # the first remembers nothing
    return [files[name] for name, sha in found.items() if record["outputs"].get(name) != sha]


def set_aside_damaged(stage: Identity) -> list[Path]:
    """Hash every output of a finished stage and move the changed ones aside, so that they are made again; list them."""
    record = _record_of(stage)
    damaged = [] if record is None else _damaged(stage, record, verify=True)
    for path in damaged:
        path.replace(path.with_name(f"{path.name}.damaged"))
    return damaged


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


def tidy(stage: Identity) -> None:
    """Remove what a kill left beside a stage that nobody works on: half-written files, and the mark of a done one."""
    patterns = (*stage.outputs, *stage.scratch)
    folders = {stage.folder, *((stage.folder / pattern).parent for pattern in patterns)}
    folders |= {path for pattern in patterns for path in stage.folder.glob(pattern) if path.is_dir()}
    for path in (path for folder in folders for path in folder.glob(f".*{TEMPORARY_SUFFIX}")):
        _remove(path)
    if stage.record.exists():
        (stage.folder / STARTED).unlink(missing_ok=True)


def changed_keys(stage: Identity, record: Mapping[str, Any]) -> list[Change]:
    """List the keys with which a record was made and that now differ; none where it does not say."""
    return (
        differences(record["config"], json.loads(json.dumps(stage.config, default=str))) if "config" in record else []
    )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """List the keys of two flat mappings that differ."""
    return [(key, old.get(key), new.get(key)) for key in sorted({*old, *new}) if old.get(key) != new.get(key)]


def to_heal(stage: Identity) -> list[Path] | None:
    """List the changed files of a stage that finished with this configuration and these inputs.

    They and what is missing are made again, the others stay. None for a stage that begins at its beginning.
    """
    record = _record_of(stage)
    return None if record is None else _damaged(stage, record)


def _refuse_folders(stage: Identity) -> None:
    """Refuse a folder where a finished stage had a file: it would pass for what was written, and is not ours."""
    record = _record_of(stage) or {"outputs": {}}
    for path in (stage.folder / name for name in record["outputs"]):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def begin(stage: Identity) -> bool:
    """Make the folder ready to run the stage; return True when a started run of exactly this stage may go on.

    Of a finished stage of which files are missing or changed, the others stay. Whatever belongs to another
    configuration or other inputs is removed first, its DONE record before all else.
    """
    _refuse_folders(stage)
    key, changed = stage.key(), to_heal(stage)
    if changed is not None:
        for path in changed:
            _remove(path)
        write_json(stage.folder / STARTED, key)
    stage.record.unlink(missing_ok=True)
    tidy(stage)
    if _matches(stage.folder / STARTED, key):
        return True
    (stage.folder / STARTED).unlink(missing_ok=True)
    for path in deleted_by(stage):
        _remove(path)
    write_json(stage.folder / STARTED, key)
    return False


def finish(stage: Identity, *, wall_s: float, code_version: str) -> None:
    """Write the DONE record: the last thing a stage does, but for what a worker killed on the way left half written."""
    stats = {name: _stat(path) for name, path in _output_files(stage).items()}
    record = {**stage.key(), "outputs": hash_outputs(stage), "stat": stats}
    record |= {"code_version": code_version, "wall_s": round(wall_s, 3)}
    record["finished_at"] = datetime.now().astimezone().isoformat(timespec="milliseconds")
    write_json(stage.record, {**record, "config": dict(stage.config)})
    tidy(stage)
