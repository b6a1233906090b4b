import errno
import hashlib
import json
import random
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset as wds
from webdataset import TarWriter

from shards.annotations.base import Clip, make_annotations, sanitise_key
from shards.errors import UserError
from shards.write.config import ShardConfig
from shards.write.plans import ShardPlan, plan_shards
from shards.write.writer import finish, write_shard
from tests.shards.make_clips import need_data, write_numbered

CFG = ShardConfig(clips_per_shard=3)


def clip_table(paths):
    rows = [{"key": path.stem, "path": str(path), "start": None, "end": None} for path in paths]
    schema = pa.schema([("key", pa.string()), ("path", pa.string()), ("start", pa.float64()), ("end", pa.float64())])
    return pa.Table.from_pylist(rows, schema=schema)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    paths = [write_numbered(folder / f"clip-{index}.mp4", 5 + index, width=64, height=64) for index in range(6)]
    bad = folder / "clip-2b.mp4"
    bad.write_bytes(b"no video")
    return [*paths, bad, folder / "gone.mp4"]


def write(folder, paths, cfg=CFG, order=None):
    plans = plan_shards(clip_table(paths), cfg)
    if order:
        order(plans)
    return finish(folder, [write_shard(plan, folder, cfg) for plan in plans], cfg)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_clips_same_bytes_in_any_order_of_writing(tmp_path, videos):
    write(tmp_path / "a", videos)
    shuffled = list(videos)
    random.Random(1).shuffle(shuffled)
    write(tmp_path / "b", shuffled, order=lambda plans: plans.reverse())
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_manifest_rows_lead_to_the_clips(tmp_path, videos):
    manifest = write(tmp_path, videos)
    assert manifest.keys == [f"clip-{index}" for index in range(6)]
    for index, key in enumerate(manifest.keys):
        row = manifest.row(key)
        assert row.n_frames == 5 + index
        assert hashlib.sha256(manifest.read(key)).hexdigest() == row.sha256


def test_bad_clips_are_quarantined_with_their_reason(tmp_path, videos):
    write(tmp_path, videos)
    rows = pq.ParquetFile(tmp_path / "quarantine.parquet").read().to_pylist()
    assert [(row["key"], row["reason"]) for row in rows] == [("clip-2b", "not_a_video"), ("gone", "missing_file")]


def test_tars_are_plain_and_readable_by_webdataset_and_dali_index(tmp_path, videos):
    manifest = write(tmp_path, videos)
    for name in manifest.shards:
        with tarfile.open(tmp_path / name) as tar:
            members = tar.getmembers()
        assert all(member.mtime == 0 and member.uid == 0 and not member.pax_headers for member in members)
        lines = (tmp_path / name.replace(".tar", ".idx")).read_text().splitlines()
        assert lines[0] == f"v1.2 {len(members) // 2}"
        listed = [part.split(" ") for line in lines[1:] for part in [line]]
        flat = [word for words in listed for word in words]
        assert flat == [
            str(word)
            for member in members
            for word in (member.name.partition(".")[2], member.offset_data, member.size, member.name)
        ]
    urls = [str(tmp_path / name) for name in manifest.shards]
    samples = list(wds.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == manifest.keys
    for sample in samples:
        facts = json.loads(sample["json"])
        assert facts["n_frames"] == manifest.row(sample["__key__"]).n_frames
        assert "label" not in facts


def test_index_equals_the_one_dali_ships(tmp_path, videos):
    wds2idx = pytest.importorskip("wds2idx", reason="DALI's index script is not installed")
    manifest = write(tmp_path, videos)
    tar = tmp_path / manifest.shards[0]
    with wds2idx.IndexCreator(str(tar), str(tmp_path / "theirs")) as creator:
        creator.create_index()
    assert (tmp_path / "theirs").read_bytes() == tar.with_suffix(".idx").read_bytes()


def test_a_second_write_does_nothing(tmp_path, videos):
    plans = plan_shards(clip_table(videos), CFG)
    first = [write_shard(plan, tmp_path, CFG) for plan in plans]
    stamps = {name: (tmp_path / name).stat().st_mtime_ns for name in contents(tmp_path)}
    again = [write_shard(plan, tmp_path, CFG) for plan in plans]
    assert [result.written for result in again] == [False] * len(plans)
    assert stamps == {name: (tmp_path / name).stat().st_mtime_ns for name in contents(tmp_path)}
    assert finish(tmp_path, again, CFG).sha256 == finish(tmp_path, first, CFG).sha256


@pytest.mark.parametrize("harm", ["cut", "flip", "no record", "broken record", "no index"])
def test_a_damaged_shard_is_written_again(tmp_path, videos, harm):
    manifest = write(tmp_path, videos)
    before = contents(tmp_path)
    tar = tmp_path / "shard-000000.tar"
    if harm == "cut":
        tar.write_bytes(tar.read_bytes()[:-1])
    elif harm == "flip":
        data = bytearray(tar.read_bytes())
        data[2000] ^= 1
        tar.write_bytes(data)
    elif harm == "no index":
        tar.with_suffix(".idx").unlink()
    else:
        tar.with_suffix(".json").write_text("{}") if harm == "broken record" else tar.with_suffix(".json").unlink()
    plans = plan_shards(clip_table(videos), CFG)
    assert [write_shard(plan, tmp_path, CFG).written for plan in plans] == [True, False, False]
    assert not (tmp_path / "manifest.json").exists()  # not whole until finished
    assert write(tmp_path, videos).sha256 == manifest.sha256
    assert contents(tmp_path) == before


def test_another_configuration_or_source_file_is_another_plan(tmp_path, videos):
    source = tmp_path / "in" / "clip-9.mp4"
    source.parent.mkdir()
    write_numbered(source, 4)
    (plan,) = plan_shards(clip_table([source]), CFG)
    assert write_shard(plan, tmp_path / "out", CFG).written
    assert write_shard(plan, tmp_path / "out", ShardConfig(short_side=64, clips_per_shard=3)).written
    assert write_shard(plan, tmp_path / "out", CFG).written
    write_numbered(source, 8)
    assert write_shard(plan, tmp_path / "out", CFG).rows[0]["n_frames"] == 8


def test_shards_of_an_earlier_plan_and_left_overs_are_removed(tmp_path, videos):
    write(tmp_path, videos)
    (tmp_path / ".shard-000000.tar.1-ab.tmp").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path, videos[:2])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        *(f"shard-000000.{ext}" for ext in ("tar", "idx", "json")),
        *("manifest.json", "manifest.parquet", "quarantine.parquet", "notes.txt"),
    }


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path, videos, monkeypatch):
    def full(self, sample):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TarWriter, "write", full)
    with pytest.raises(UserError, match=r"shard-000000\.tar.*no space is left"):
        write_shard(plan_shards(clip_table(videos), CFG)[0], tmp_path, CFG)
    assert list(tmp_path.iterdir()) == []


def test_when_no_clip_is_usable_the_run_stops_with_the_list(tmp_path, videos):
    with pytest.raises(UserError, match=r"none of 2 clips.*not_a_video.*missing_file"):
        write(tmp_path, videos[-2:])
    assert not (tmp_path / "manifest.json").exists()


def test_a_shard_of_only_bad_clips_is_left_out(tmp_path, videos):
    manifest = write(tmp_path, videos, ShardConfig(clips_per_shard=1))
    assert len(manifest) == 6
    assert len(manifest.shards) == 6
    assert [manifest.row(key).n_frames for key in manifest.keys] == [5, 6, 7, 8, 9, 10]


def test_a_key_that_occurs_twice_is_refused(videos):
    with pytest.raises(UserError, match=r"1 keys occur twice.*clip-0"):
        plan_shards(clip_table([videos[0], *videos]), CFG)


def test_plans_cover_every_clip_once():
    paths = [Path(f"v{index:03d}.mp4") for index in range(10)]
    plans = plan_shards(clip_table(paths[::-1]), ShardConfig(clips_per_shard=4))
    assert [[clip.key for clip in plan.clips] for plan in plans] == [
        ["v000", "v001", "v002", "v003"],
        ["v004", "v005", "v006", "v007"],
        ["v008", "v009"],
    ]
    assert [plan.index for plan in plans] == [0, 1, 2]
    assert isinstance(plans[0], ShardPlan)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"profile": "h265"}, "profile = h265"),
        ({"short_side": 8}, r"\[48, 4096\]"),
        ({"clips_per_shard": 0}, "at least 1"),
    ],
)
def test_configuration_is_checked(options, rule):
    with pytest.raises(ValueError, match=rule):
        ShardConfig(**options)


@pytest.mark.slow
def test_every_clip_on_disk_goes_in_or_into_quarantine(tmp_path):
    paths = [path for part in ("actions", "broken", "codecs", "odd") for path in need_data(f"clips/{part}").iterdir()]
    clips = [Clip(name=path.stem, path=str(path), label=0, role="train", source=path.stem) for path in paths]
    cfg = ShardConfig(clips_per_shard=16)
    plans = plan_shards(make_annotations(clips, ["any"], "clips", "1").clips, cfg)
    manifest = finish(tmp_path, [write_shard(plan, tmp_path, cfg) for plan in plans], cfg)
    bad = {row["key"] for row in pq.ParquetFile(tmp_path / "quarantine.parquet").read().to_pylist()}
    # Two files share a stem, so keys are made from the paths.
    broken = {f"broken/{path.name}" for path in need_data("clips/broken").iterdir()}
    assert bad == {sanitise_key(name) for name in broken} - {
        "broken_av1-clearkey-cbcs-video_mp4",
        "broken_vvc_400kbps_2s_mp4",
    }
    assert len(manifest) == len(paths) - len(bad)
    assert {"actions_mmaction2_test_avi", "actions_mmaction2_test_mp4"} < set(manifest.keys)
