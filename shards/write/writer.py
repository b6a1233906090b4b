"""Write clips into reproducible WebDataset tars: same clips and configuration, same bytes, whoever writes them.

plan_shards (shards.write.plans) -> write_shard for each plan, anywhere and in any order -> finish. A shard that is
already there, written by the same plan from the same files, is left alone. manifest.json is written last: without it
there are no shards.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from webdataset import TarWriter

from shards.errors import SampleError, UserError
from shards.files import TEMPORARY_SUFFIX, atomic, sha256_file, write_bytes
from shards.sources.sources import UNREACHABLE, Sources
from shards.storage.folders import Folder, LocalFolder, open_folder
from shards.storage.manifest import FORMAT, MANIFEST_JSON, MANIFEST_PARQUET, MANIFEST_SCHEMA, STORE, Manifest
from shards.write.config import ShardConfig
from shards.write.normalise import NormalisedClip, normalise
from shards.write.plans import PlannedClip, ShardPlan, plan_hash

_ROW_GROUP = 1 << 14  # rows read at once: a rank that opens a large manifest needs little more than its rows
QUARANTINE = "quarantine.parquet"
QUARANTINE_SCHEMA = pa.schema([(name, pa.string()) for name in ("key", "path", "reason", "detail")])
_SHARD_FILE = re.compile(r"shard-\d{6}\.(tar|idx|json)")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardResult:
    """What a tar holds: rows of the manifest (`shard` left out), quarantined clips, its size and hash.

    remarks: rows as in the quarantine of clips that are stored though something is odd with them.
    `tar` is None when every clip was bad. `written` is False when the shard was already there.
    """

    index: int
    plan_sha256: str
    tar: str | None
    bytes: int
    sha256: str
    rows: list[dict[str, Any]]
    quarantine: list[dict[str, str]]
    remarks: list[dict[str, str]] = field(default_factory=list)
    written: bool = True


def write_shard(plan: ShardPlan, folder: Path, cfg: ShardConfig) -> ShardResult:
    """Write one tar and its index, or find that they are there. Safe to run twice, also at the same time.

    They lie in `folder`, or in the store where the configuration names one.
    A bad clip goes to quarantine with its reason; a full disk raises UserError and leaves nothing half-written.
    """
    if cfg.store:
        return _write_to_store(plan, open_folder(cfg.store), cfg)
    digest = plan_hash(plan, cfg)
    done = _find_result(plan, LocalFolder(folder), digest)
    if done is not None:
        return done
    (folder / MANIFEST_JSON).unlink(missing_ok=True)  # the shards are not whole from here until `finish`
    rows: list[dict[str, Any]] = []
    quarantine: list[dict[str, str]] = []
    remarks: list[dict[str, str]] = []
    tar = folder / f"{plan.name}.tar"
    with atomic(tar) as temporary:
        with (
            temporary.open("wb") as file,
            TarWriter(file, user="", group="", mtime=0) as writer,
            Sources(plan.frame_rate, plan.frame_files) as sources,
        ):
            for clip in plan.clips:
                try:
                    row, odd = _store(writer, clip, cfg, sources)
                    rows.append(row)
                    remarks += ({"key": clip.key, "path": clip.path, "reason": r, "detail": d} for r, d in odd.items())
                except SampleError as error:
                    quarantine.append(_quarantined(clip, error))
        index = tar_index(temporary)
        _place(rows, index)
        size, sha256 = temporary.stat().st_size, sha256_file(temporary)
    write_bytes(tar.with_suffix(".idx"), dali_index(index))
    result = ShardResult(
        index=plan.index,
        plan_sha256=digest,
        tar=tar.name if rows else None,
        bytes=size,
        sha256=sha256,
        rows=rows,
        quarantine=quarantine,
        remarks=remarks,
    )
    write_bytes(tar.with_suffix(".json"), json.dumps(dataclasses.asdict(result), sort_keys=True).encode())
    return result


def _write_to_store(plan: ShardPlan, store: Folder, cfg: ShardConfig) -> ShardResult:
    """Write a shard here and copy it to the store, its record last: with that it counts as written."""
    done = _find_result(plan, store, plan_hash(plan, cfg))
    if done is not None:
        return done
    store.remove([MANIFEST_JSON])
    with tempfile.TemporaryDirectory(prefix="finepseudo-") as staging:
        result = write_shard(plan, Path(staging), replace(cfg, store=""))
        for ending in ("tar", "idx", "json"):
            name = f"{plan.name}.{ending}"
            store.put(Path(staging) / name, name)
    return result


def finish(folder: Path, results: Sequence[ShardResult], cfg: ShardConfig, quarantine: Path | None = None) -> Manifest:
    """Write quarantine.parquet (at `quarantine`, else in the folder), manifest.parquet and, last, manifest.json.

    Where there is a store it gets a copy of the manifest, and the folder's `store.json` names it.
    Shards of an earlier plan and left-over temporary files are removed. Raises UserError when no clip is usable.
    """
    ordered = sorted(results, key=lambda result: result.index)
    bad = sorted((row for result in ordered for row in result.quarantine), key=lambda row: row["key"])
    with atomic(quarantine or folder / QUARANTINE) as temporary:
        pq.write_table(pa.Table.from_pylist(bad, schema=QUARANTINE_SCHEMA), temporary)
    kept = [result for result in ordered if result.rows]
    if not kept:
        first = "; ".join(f"{row['path']}: {row['reason']}" for row in bad[:3])
        raise UserError(f"none of {len(bad)} clips can be used, first: {first}; check data.root and the video files")
    (folder / MANIFEST_JSON).unlink(missing_ok=True)
    rows = [{**row, "shard": shard} for shard, result in enumerate(kept) for row in result.rows]
    with atomic(folder / MANIFEST_PARQUET) as temporary:
        table = pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)
        pq.write_table(table, temporary, row_group_size=_ROW_GROUP, use_dictionary=["codec"])
    shards = [
        {"name": result.tar, "bytes": result.bytes, "sha256": result.sha256, "clips": len(result.rows)}
        for result in kept
    ]
    info = {
        "format": FORMAT,
        "profile": cfg.profile,
        "shards": shards,
        "manifest_sha256": sha256_file(folder / MANIFEST_PARQUET),
        "clips": len(rows),
    }
    names, text = {f"shard-{result.index:06d}" for result in ordered}, json.dumps(info, indent=1).encode()
    _remove_strangers(folder, set() if cfg.store else names)
    (folder / STORE).unlink(missing_ok=True)
    if cfg.store:
        _publish(folder, open_folder(cfg.store), names, text)
    write_bytes(folder / MANIFEST_JSON, text)
    return Manifest.open(folder)


def _publish(folder: Path, store: Folder, names: set[str], info: bytes) -> None:
    """Copy the manifest to the store, manifest.json last, and note where the store is."""
    store.remove([MANIFEST_JSON, *(name for name in store.sizes() if _is_stale(name, names))])
    store.put(folder / MANIFEST_PARQUET, MANIFEST_PARQUET)
    store.write(MANIFEST_JSON, info)
    write_bytes(folder / STORE, json.dumps({"url": str(store)}).encode())


def tar_index(path: Path) -> list[tuple[str, list[tuple[str, int, int, str]]]]:
    """List the samples of a tar in order: key and its members (extension, offset, size, name)."""
    groups: dict[str, list[tuple[str, int, int, str]]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            stem, _, extension = member.name.partition(".")
            groups.setdefault(stem, []).append((extension, member.offset_data, member.size, member.name))
    return list(groups.items())


def dali_index(index: Sequence[tuple[str, list[tuple[str, int, int, str]]]]) -> bytes:
    """Write the index file of DALI's webdataset reader, format v1.2."""
    lines = [f"v1.2 {len(index)}"]
    lines += [" ".join(f"{ext} {offset} {size} {name}" for ext, offset, size, name in group) for _, group in index]
    return ("\n".join(lines) + "\n").encode()


def _store(
    writer: TarWriter, clip: PlannedClip, cfg: ShardConfig, sources: Sources
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Store one clip; give its row and the remarks on it."""
    source = sources.open(clip.key, clip.path)
    video = normalise(clip.key, source, profile=cfg.profile, short_side=cfg.short_side, start=clip.start, end=clip.end)
    facts = _facts(video)
    # No label here: labels of unlabelled clips must not travel with the pixels.
    sample = {"__key__": clip.key, video.extension: video.data, "json": json.dumps(facts, sort_keys=True).encode()}
    writer.write(sample)
    return {"key": clip.key, **facts, "sha256": hashlib.sha256(video.data).hexdigest()}, video.remarks


def _facts(video: NormalisedClip) -> dict[str, Any]:
    names = ("n_frames", "fps", "codec", "width", "height")
    return {name: getattr(video, name) for name in names}


def _place(rows: list[dict[str, Any]], index: Sequence[tuple[str, list[tuple[str, int, int, str]]]]) -> None:
    """Fill in where the video members lie, from the tar as it was written."""
    for row, (key, members) in zip(rows, index, strict=True):
        (video,) = [member for member in members if member[0] != "json"]
        if key != row["key"]:
            raise RuntimeError(f"sample {key} stands where {row['key']} was written")
        row["offset"], row["size"] = video[1], video[2]


def _quarantined(clip: PlannedClip, error: SampleError) -> dict[str, str]:
    return {"key": clip.key, "path": clip.path, "reason": error.reason, "detail": error.detail}


def _final(record: ShardResult) -> bool:
    """Say whether another try would change nothing: a source out of reach may be back."""
    return all(row["reason"] != UNREACHABLE for row in record.quarantine)


def _find_result(plan: ShardPlan, place: Folder, digest: str) -> ShardResult | None:
    """Give the record of an earlier write when plan and bytes (behind a URL: their number) still match, else None."""
    tar = f"{plan.name}.tar"
    try:
        record = ShardResult(**{**json.loads(place.read(f"{plan.name}.json")), "written": False})
        same = record.plan_sha256 == digest and place.size(tar) == record.bytes and _final(record)
        if same and place.size(f"{plan.name}.idx") and _same_bytes(place, tar, record.sha256):
            return record
    except (OSError, ValueError, TypeError):
        return None  # no record, or not one of ours: the shard is written again
    return None


def _same_bytes(place: Folder, name: str, sha256: str) -> bool:
    return not isinstance(place, LocalFolder) or sha256_file(place.path / name) == sha256


def _remove_strangers(folder: Path, names: set[str]) -> None:
    for path in folder.iterdir():
        leftover = path.name.startswith(".") and path.name.endswith(TEMPORARY_SUFFIX)
        if leftover or _is_stale(path.name, names):
            path.unlink(missing_ok=True)


def _is_stale(name: str, names: set[str]) -> bool:
    return bool(_SHARD_FILE.fullmatch(name)) and name.partition(".")[0] not in names
