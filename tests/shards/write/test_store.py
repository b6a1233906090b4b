"""Shards in a remote store: written through, read back through a bounded cache, whatever happens in between."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from shards.errors import SampleError, UserError
from shards.read.config import OrderConfig
from shards.read.reader import ClipReader
from shards.storage import remote
from shards.storage.config import CacheConfig
from shards.storage.folders import open_folder
from shards.storage.manifest import Manifest
from shards.types import ItemTable
from shards.write.config import ShardConfig
from shards.write.plans import plan_shards
from shards.write.store import claim_store
from shards.write.writer import finish, write_shard
from tests.conftest import s3_server, use_s3
from tests.shards.make_clips import write_numbered
from tests.shards.read.read_clips import config

REPOSITORY = Path(__file__).parents[3]
CFG = ShardConfig(clips_per_shard=3)
SCHEMA = pa.schema([("key", pa.string()), ("path", pa.string()), ("start", pa.float64()), ("end", pa.float64())])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    rows = [
        {"key": f"k{i}", "path": str(write_numbered(folder / f"{i}.mp4", 6 + i, width=64, height=64))} for i in range(8)
    ]
    (folder / "bad.mp4").write_bytes(b"no video")
    return pa.Table.from_pylist([*rows, {"key": "bad", "path": str(folder / "bad.mp4")}], schema=SCHEMA)


@pytest.fixture(scope="module")
def local(table, tmp_path_factory):
    """The same shards on the disk."""
    return write(table, tmp_path_factory.mktemp("local"), CFG)


def write(table, folder, cfg):
    plans = plan_shards(table, cfg)
    claim_store(plans, cfg)
    return finish(folder, [write_shard(plan, folder, cfg) for plan in plans], cfg)


def cache(tmp_path, gigabytes=1.0):
    return CacheConfig(folder=str(tmp_path / "cache"), gigabytes=gigabytes)


def everything(manifest):
    return {key: manifest.read(key) for key in manifest.keys}


@pytest.fixture(params=["s3", "file"])
def store(request, tmp_path):
    """A store of each kind: an S3 server, and a folder that is not the run's."""
    if request.param == "file":
        return f"file://{tmp_path}/store"
    return f"{request.getfixturevalue('bucket')}/some/prefix"


def test_a_store_holds_the_bytes_a_folder_holds(tmp_path, table, local, store):
    cfg = replace(CFG, store=store)
    manifest = write(table, tmp_path / "run", cfg)
    place = open_folder(store)
    for name in (*local.shards, "shard-000000.idx", "manifest.json", "manifest.parquet"):
        assert place.read(name) == (local.folder / name).read_bytes(), name
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(
        ["manifest.json", "manifest.parquet", "quarantine.parquet", "store.json"]
    )
    for found in (manifest, Manifest.open(tmp_path / "run", cache(tmp_path)), Manifest.open(store, cache(tmp_path))):
        assert found.sha256 == local.sha256
        assert everything(pickle.loads(pickle.dumps(found))) == everything(local)
    again = [write_shard(plan, tmp_path / "other", cfg) for plan in plan_shards(table, cfg)]
    assert not any(result.written for result in again)


def test_what_is_missing_or_cut_in_a_store_is_written_again(tmp_path, table, local, store):
    cfg = replace(CFG, store=store)
    write(table, tmp_path / "run", cfg)
    place = open_folder(store)
    place.write("shard-000001.tar", b"cut")
    place.write("shard-000009.tar", b"of an earlier plan")
    place.write("notes.txt", b"mine")
    with pytest.raises(UserError, match=r"shard-000001\.tar has 3 bytes, the manifest says \d+"):
        Manifest.open(tmp_path / "run")
    place.remove(["shard-000002.tar"])
    plans = plan_shards(table, cfg)
    results = [write_shard(plan, tmp_path / "run", cfg) for plan in plans]
    assert [result.written for result in results] == [False, True, True]
    with pytest.raises(UserError, match=r"manifest\.json does not exist"):
        Manifest.open(store)  # not whole until finished
    assert everything(finish(tmp_path / "run", results, cfg)) == everything(local)
    assert "shard-000009.tar" not in place.sizes()
    assert place.read("notes.txt") == b"mine"


def test_a_store_of_other_clips_is_left_alone(tmp_path, table, store):
    cfg = replace(CFG, store=store)
    write(table, tmp_path / "run", cfg)
    before = open_folder(store).sizes()
    for other, changed in ((table.slice(1), cfg), (table, replace(cfg, short_side=64))):
        with pytest.raises(
            UserError, match="holds the shards of other clips or of another configuration; name another"
        ):
            write(other, tmp_path / "other", changed)
    assert open_folder(store).sizes() == before


def run(code, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


WRITE = """
import sys, pickle
from pathlib import Path
from shards.write.writer import write_shard
folder, plans, cfg = Path(sys.argv[1]), *pickle.loads(Path(sys.argv[2]).read_bytes())
for plan in plans:
    write_shard(plan, folder, cfg)
    print(plan.name, flush=True)
    sys.stdin.read() if plan.index == 0 else None
"""


@pytest.mark.slow
def test_killed_between_shards_it_goes_on_with_the_next(tmp_path, table, local, bucket):
    cfg = replace(CFG, store=f"{bucket}/x")
    (tmp_path / "told").write_bytes(pickle.dumps((plan_shards(table, cfg), cfg)))
    process = run(WRITE, tmp_path / "run", tmp_path / "told")
    try:
        assert process.stdout.readline() == b"shard-000000\n"
    finally:
        process.kill()
        process.wait()
    results = [write_shard(plan, tmp_path / "run", cfg) for plan in plan_shards(table, cfg)]
    assert [result.written for result in results] == [False, True, True]
    assert everything(finish(tmp_path / "run", results, cfg)) == everything(local)


READ = """
import hashlib, sys
from shards.storage.cache import CacheConfig
from shards.storage.manifest import Manifest
manifest = Manifest.open(sys.argv[1], CacheConfig(folder=sys.argv[2], gigabytes=float(sys.argv[3])))
for _ in range(5):
    for key in manifest.keys:
        assert hashlib.sha256(manifest.read(key)).hexdigest() == manifest.row(key).sha256
print("read")
"""


def held(folder):
    total = 0
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):
            total += 0 if entry.name.startswith(".lock") else entry.stat().st_size
    return total


@pytest.mark.slow
def test_two_processes_share_a_small_cache(tmp_path, table, bucket):
    manifest = write(table, tmp_path / "run", replace(CFG, store=f"{bucket}/x"))
    sizes = [shard["bytes"] for shard in json.loads((tmp_path / "run" / "manifest.json").read_text())["shards"]]
    limit = max(sizes) + min(sizes) // 2  # one tar fits, two do not
    (tmp_path / "cache").mkdir()
    processes = [run(READ, tmp_path / "run", tmp_path / "cache", limit / 1e9) for _ in range(2)]
    try:
        while any(process.poll() is None for process in processes):
            assert min(held(tmp_path / "cache") for _ in range(3)) <= limit  # one look is no snapshot
            time.sleep(0.005)
        assert [process.stdout.read() for process in processes] == [b"read\n"] * 2
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert len(manifest) == 8


def counted(monkeypatch):
    """Count whole tars and ranges fetched."""
    calls = {"fetch": 0, "fetch_range": 0, "read_range": 0}

    def count(name, true, *arguments):
        calls[name] += 1
        return true(*arguments)

    for name in calls:
        monkeypatch.setattr(remote, name, partial(count, name, getattr(remote, name)))
    return calls


def test_what_is_copied_depends_on_the_order_and_the_room(tmp_path, table, bucket, monkeypatch):
    write(table, tmp_path / "run", replace(CFG, store=f"{bucket}/x"))
    calls = counted(monkeypatch)

    def read(gigabytes, scattered, folder="cache"):
        calls.update(dict.fromkeys(calls, 0))
        cfg = CacheConfig(folder=str(tmp_path / folder), gigabytes=gigabytes)
        manifest = Manifest.open(tmp_path / "run", cfg, scattered=scattered)
        everything(manifest)
        everything(manifest)
        return calls["fetch"], calls["fetch_range"] + calls["read_range"]

    shards = 3
    assert read(1, False, "a") == read(1, True, "b") == (shards, 0)  # all fit: whole tars, once
    assert read(1, True, "b") == (0, 0)  # another reader on the same node
    sizes = [shard["bytes"] for shard in json.loads((tmp_path / "run" / "manifest.json").read_text())["shards"]]
    small = (sum(sizes) - 1) / 1e9
    assert read(small, False, "c") == (2 * shards, 0)  # in order: each tar once a pass
    assert read(small, True, "d")[0] == 0  # scattered: never a tar for the sake of one clip
    read(small, False, "f")
    assert read(small, True, "f")[1] < 8  # but what another reader left there is used
    fetches, ranges = read(0, True, "e")
    assert (fetches, calls["read_range"]) == (0, 16)
    assert ranges == 16


def test_damage_in_the_cache_or_on_the_way_is_noticed(tmp_path, table, local, bucket):
    write(table, tmp_path / "run", replace(CFG, store=f"{bucket}/x"))
    manifest = Manifest.open(tmp_path / "run", cache(tmp_path))
    everything(manifest)
    for entry in (tmp_path / "cache").glob("*.tar"):
        entry.write_bytes(bytes(entry.stat().st_size))
    assert everything(manifest) == everything(local)
    size = open_folder(f"{bucket}/x").size("shard-000000.tar")
    open_folder(f"{bucket}/x").write("shard-000000.tar", bytes(size))
    with pytest.raises(SampleError, match=r"hash_mismatch"):
        Manifest.open(tmp_path / "run", cache(tmp_path / "other")).read("k0")


def test_a_full_disk_means_reading_over_the_network(tmp_path, table, local, bucket, monkeypatch):
    write(table, tmp_path / "run", replace(CFG, store=f"{bucket}/x"))

    def full(url, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(remote, "fetch", full)
    manifest = Manifest.open(tmp_path / "run", cache(tmp_path))
    assert everything(manifest) == everything(local)


def reader(manifest, **changes):
    items = ItemTable.unlabelled(manifest.keys)
    return ClipReader(manifest, items, config(2, max_bad_fraction=1.0, prefetch=0, **changes), seed=1)


def test_a_server_that_goes_away_masks_the_clips_it_had(tmp_path, table, bucket, monkeypatch):
    write(table, tmp_path / "run", replace(CFG, store=f"{bucket}/x"))
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    with s3_server() as address:
        use_s3(monkeypatch, address)
        manifest = Manifest.open(tmp_path / "run", cache(tmp_path, 0), scattered=True)
        clips = reader(manifest)
        batches = clips.epoch(0)
        first = next(batches)
    rest = list(batches)
    assert first.valid.all()
    assert len(rest) == clips.batches_per_epoch - 1
    assert not any(batch.valid.any() for batch in rest)
    assert clips.bad == {"shard_unreadable": 6}
    told = [str(error) for error in clips._loader.failures.values()]
    refused = sum("Could not connect" in text for text in told)
    assert 3 <= refused <= 4  # two threads read: the fourth may be under way when the third fails
    assert sum("not asked for 30 s" in text for text in told) == 6 - refused
    with pytest.raises(UserError, match=r"s3://.*check the network, the address and the credentials"):
        Manifest.open(tmp_path / "run")


def test_windows_read_the_same_clips_in_whole_tars(tmp_path, table, bucket, monkeypatch):
    write(table, tmp_path / "run", replace(CFG, store=f"{bucket}/x"))
    calls = counted(monkeypatch)
    manifest = Manifest.open(tmp_path / "run", cache(tmp_path))
    order = OrderConfig(batch_size=2, shard_window=1)
    keys = [key for batch in reader(manifest, order=order).epoch(0) for key in batch.keys if key]
    assert sorted(keys) == manifest.keys
    shards = manifest.shards_of(keys).tolist()
    assert len([i for i in range(1, 8) if shards[i] != shards[i - 1]]) == 2
    assert (calls["fetch"], calls["read_range"]) == (3, 0)


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(UserError, match=r"s3:// cannot be read here .*; pip install 'finepseudo\[remote\]'"):
        Manifest.open("s3://b/x")


def test_no_bucket_and_no_permission_are_one_line(tmp_path, table, bucket):
    plan = plan_shards(table, CFG)[0]
    with pytest.raises(UserError, match=r"s3://no-such-bucket/x/.*cannot be written: there is no such bucket"):
        write_shard(plan, tmp_path, replace(CFG, store="s3://no-such-bucket/x"))
    with pytest.raises(ValueError, match=r"store = some/folder: must be a URL or an absolute path"):
        replace(CFG, store="some/folder")
