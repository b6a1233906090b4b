import json
import pickle
import subprocess
import sys
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shards.errors import SampleError, UserError
from shards.storage.manifest import Manifest
from shards.write.config import ShardConfig
from shards.write.plans import PlannedClip, ShardPlan
from shards.write.writer import finish, write_shard
from tests.shards.hurt import change_rows
from tests.shards.make_clips import write_numbered


@pytest.fixture
def folder(tmp_path):
    return made_shards(tmp_path)


@pytest.fixture(scope="module")
def shards_of_two(tmp_path_factory):
    return made_shards(tmp_path_factory.mktemp("two"))


def made_shards(tmp_path):
    clips = [
        PlannedClip(key=f"k{index}", path=str(write_numbered(tmp_path / f"{index}.mp4", 4 + index)))
        for index in range(4)
    ]
    plans = [ShardPlan(index=index, clips=tuple(clips[2 * index : 2 * index + 2])) for index in range(2)]
    finish(tmp_path / "s", [write_shard(plan, tmp_path / "s", ShardConfig()) for plan in plans], ShardConfig())
    return tmp_path / "s"


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
    code = (
        "import sys; from shards.storage.manifest import Manifest; Manifest.open(sys.argv[1]); "
        "print('pandas' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_a_row_with_a_missing_value_is_refused(folder):
    first_row(offset=None)(folder)
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


def first_row(**change):
    return lambda folder: change_rows(folder, lambda row: row | change if row["key"] == "k0" else row)


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
        (first_row(offset=10**9), "clip k0 lies outside its tar"),
        (first_row(offset=-1), "clip k0 lies outside its tar"),
        (first_row(shard=7), "clip k0 lies outside its tar"),
        (first_row(shard=-1), "clip k0 lies outside its tar"),
        (first_row(size=0), "clip k0 lies outside its tar"),
        (first_row(key="k1"), "keys doubled"),
        (first_row(key="z"), "out of order"),
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


@settings(deadline=None, max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_single_flipped_bit_of_a_clip_is_noticed(shards_of_two, place, bit):
    manifest = Manifest.open(shards_of_two)
    row = manifest.row("k2")
    tar, at = shards_of_two / manifest.shards[row.shard], row.offset + int(place * row.size)
    whole = tar.read_bytes()
    tar.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
    try:
        with pytest.raises(SampleError) as caught:
            manifest.read("k2")
        assert caught.value.reason == "hash_mismatch"
        assert manifest.read("k3")
    finally:
        tar.write_bytes(whole)
    assert manifest.read("k2")


HOSTILE = [("../../evil.mp4", b"0"), ("/tmp/fp-evil.mp4", b"0"), ("k0.mp4", b"3"), ("k0.mp4", b"2"), ("k0.mp4", b"5")]


@pytest.mark.parametrize(("name", "kind"), HOSTILE)  # a path that climbs out, an absolute one, device, link, folder
def test_headers_of_a_tar_lead_nowhere(folder, name, kind):
    """Clips are read by offset; nothing takes a tar apart, so what its headers say does not matter."""
    manifest = Manifest.open(folder)
    clip, tar = manifest.read("k0"), folder / "shard-000000.tar"
    data = bytearray(tar.read_bytes())
    header = manifest.row("k0").offset - 512
    data[header : header + 100] = name.encode().ljust(100, b"\0")
    data[header + 156 : header + 157] = kind
    data[header + 157 : header + 257] = b"/etc/passwd".ljust(100, b"\0")
    data[header + 148 : header + 156] = b" " * 8
    data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + 512])
    tar.write_bytes(data)
    before = sorted(folder.parent.parent.rglob("*"))
    with tarfile.open(tar) as listing:
        assert name in (listing.next().name, listing.next().name)  # tarfile takes the header for good
    assert Manifest.open(folder).read("k0") == clip
    assert sorted(folder.parent.parent.rglob("*")) == before
    plan = ShardPlan(
        index=0, clips=tuple(PlannedClip(key=key, path=str(folder.parent / f"{key[1]}.mp4")) for key in ("k0", "k1"))
    )
    assert write_shard(plan, folder, ShardConfig()).written, "it is not what was written: written again"


def test_a_key_in_two_tars_is_refused(folder):
    clip = PlannedClip(key="k1", path=str(folder.parent / "1.mp4"))
    plans = [ShardPlan(index=index, clips=(clip,)) for index in range(2)]
    with pytest.raises(UserError, match="keys doubled"):
        finish(folder, [write_shard(plan, folder, ShardConfig()) for plan in plans], ShardConfig())


def test_rows_of_another_write_are_noticed_clip_by_clip(folder, tmp_path):
    """A tar of the same name and size with other images, copied over ours."""
    manifest = Manifest.open(folder)
    row = manifest.row("k0")
    tar = folder / manifest.shards[row.shard]
    data = bytearray(tar.read_bytes())
    data[row.offset : row.offset + row.size] = bytes(reversed(data[row.offset : row.offset + row.size]))
    tar.write_bytes(data)
    again = Manifest.open(folder)
    with pytest.raises(SampleError, match=r"k0: hash_mismatch \(shard-000000.tar was changed; .*--repair"):
        again.read("k0")
    assert again.read("k1")
