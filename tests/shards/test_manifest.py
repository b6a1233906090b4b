import json
import pickle
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shards.files import sha256_file
from shards.manifest import Manifest
from shards.types import SampleError, UserError
from shards.writer import PlannedClip, ShardConfig, ShardPlan, finish, write_shard
from tests.shards.make_clips import write_numbered


@pytest.fixture
def folder(tmp_path):
    clips = [
        PlannedClip(key=f"k{index}", path=str(write_numbered(tmp_path / f"{index}.mp4", 4 + index)))
        for index in range(4)
    ]
    plans = [ShardPlan(index=index, clips=tuple(clips[2 * index : 2 * index + 2])) for index in range(2)]
    finish(tmp_path / "s", [write_shard(plan, tmp_path / "s", ShardConfig()) for plan in plans], ShardConfig())
    return tmp_path / "s"


def rewrite(folder, change):
    """Change the rows and make manifest.json agree, as an attacker or a bug would."""
    rows = pq.ParquetFile(folder / "manifest.parquet").read()
    table = pa.Table.from_pylist(change(rows.to_pylist()), schema=rows.schema)
    pq.write_table(table, folder / "manifest.parquet")
    info = json.loads((folder / "manifest.json").read_text())
    info["manifest_sha256"] = sha256_file(folder / "manifest.parquet")
    (folder / "manifest.json").write_text(json.dumps(info))


def test_a_pickled_manifest_reads_the_same(folder):
    manifest = Manifest.open(folder)
    data = [manifest.read(key) for key in manifest.keys]
    copy = pickle.loads(pickle.dumps(manifest))
    assert [copy.read(key) for key in copy.keys] == data
    assert copy.sha256 == manifest.sha256
    assert list(copy.n_frames) == [4, 5, 6, 7]
    manifest.close()
    assert manifest.read("k1") == data[1]


def test_membership_and_positions(folder):
    manifest = Manifest.open(folder)
    assert "k3" in manifest
    assert "k" not in manifest
    assert "k33" not in manifest
    assert manifest.positions(["k2", "k0"]).tolist() == [2, 0]
    with pytest.raises(UserError, match="clip k22 is not in"):
        manifest.positions(["k2", "k22", "k33"])
    with pytest.raises(UserError, match="clip nope is not in"):
        manifest.row("nope")
    with pytest.raises(UserError, match="clip nope is not in"):
        manifest.read("nope")


@given(keys=st.lists(st.one_of(st.sampled_from(["k0", "k3", "k", "k33", "", "z", "é"]), st.text(max_size=9))))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_missing_is_what_membership_denies(folder, keys):
    keys = [key for key in keys if "\0" not in key]
    manifest = Manifest.open(folder)
    assert manifest.missing(keys) == [key for key in keys if key not in {"k0", "k1", "k2", "k3"}]


def test_opening_imports_no_library_that_it_can_do_without(folder):
    """Each rank opens the manifest; pandas, which Arrow imports where it can, takes as much memory as the rows."""
    code = "import sys; from shards.manifest import Manifest as M; M.open(sys.argv[1]); print('pandas' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_a_row_with_a_missing_value_is_refused(folder):
    rewrite(folder, lambda rows: [{**rows[0], "offset": None}, *rows[1:]])
    with pytest.raises(UserError, match="values are missing; write the shards again"):
        Manifest.open(folder)


def remove(name):
    return lambda folder: (folder / name).unlink()


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-512])


def other_info(**change):
    def apply(folder):
        info = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**info, **change}))

    return apply


def change_rows(**change):
    return lambda folder: rewrite(folder, lambda rows: [{**rows[0], **change}, *rows[1:]])


OUTSIDE = [{"name": "../s/shard-000000.tar", "bytes": 1}]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (remove("manifest.json"), "manifest.json does not exist"),
        (remove("manifest.parquet"), "manifest.parquet cannot be read"),
        (remove("shard-000001.tar"), r"shard-000001\.tar is missing"),
        (cut("shard-000001.tar"), r"shard-000001\.tar has \d+ bytes, the manifest says \d+"),
        (cut("manifest.parquet"), "is not the file manifest.json was written for"),
        (cut("manifest.json"), "manifest.json cannot be read"),
        (other_info(format=2), "is not a manifest of format 1"),
        (other_info(shards=OUTSIDE), "outside the folder"),
        (change_rows(offset=10**9), "clip k0 lies outside its tar"),
        (change_rows(offset=-1), "clip k0 lies outside its tar"),
        (change_rows(shard=7), "clip k0 lies outside its tar"),
        (change_rows(shard=-1), "clip k0 lies outside its tar"),
        (change_rows(size=0), "clip k0 lies outside its tar"),
        (change_rows(key="k1"), "keys doubled"),
        (change_rows(key="z"), "out of order"),
    ],
)
def test_what_does_not_match_is_refused(folder, harm, message):
    harm(folder)
    with pytest.raises(UserError, match=message):
        Manifest.open(folder)


@pytest.mark.parametrize("harm", [remove("shard-000001.tar"), cut("shard-000001.tar")])
def test_a_shard_that_vanishes_later_fails_its_clips_only(folder, harm):
    manifest = Manifest.open(folder)
    if harm is not None:
        harm(folder)
    (folder / "shard-000001.tar").exists() and (folder / "shard-000001.tar").write_bytes(b"")
    with pytest.raises(SampleError) as caught:
        manifest.read("k3")
    assert caught.value.reason == "shard_unreadable"
    assert manifest.read("k0")
