"""Every kind of clip that people have, through the whole writer: what goes in, what is turned away and why.

Each clip's number is drawn into its images, so a clip that ended up under another's key or label would show.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from shards.annotations.base import Annotations, Clip, make_annotations
from shards.read.config import AugmentConfig, OrderConfig, ReaderConfig, SamplingConfig, ViewConfig
from shards.read.decode import decode_frames
from shards.read.reader import ClipReader
from shards.storage.manifest import Manifest
from shards.types import ItemTable
from shards.write.config import ShardConfig
from shards.write.plans import plan_shards
from shards.write.writer import QUARANTINE, finish, write_shard
from tests.shards.make_clips import need_data
from tests.shards.numbered import encode, image, number

HOSTILE = (
    *("-i.mp4", "a b;$(touch evil)`touch evil`.mp4", "http:x.mp4", "%d.mp4", "跳水.mp4", "v_a.b.c.d_01.mp4", "..mp4"),
    *("'q\" & | > evil.mp4", "new\nline.mp4", "-.mp4", "*?.mp4", "é" * 60 + ".mp4", "a" * 200 + ".mp4", "x.json.mp4"),
)
SIZES = {"odd.avi": (131, 77), "flat.avi": (640, 34), "tall.avi": (33, 200)}
PLAIN = AugmentConfig(size=64, scale=(1, 1), ratio=(1, 1), flip=0, mean=(0, 0, 0), std=(1, 1, 1))


def good_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Make (path, frames) of the clips that are fit to be used; the clip drawn into number i is the i-th."""
    names = iter(range(256))
    for frames in (1, 3, 12):
        yield encode(folder / f"{frames} frames.mp4", next(names), frames), frames
    for name in HOSTILE:
        yield encode(folder / "made.mp4", next(names), 4).rename(folder / name), 4
    encode(folder / "made.mp4", next(names), 5).rename(folder / "really mp4.webm")
    yield folder / "really mp4.webm", 5
    encode(folder / "made.mp4", next(names), 5).rename(folder / "no ending")
    yield folder / "no ending", 5
    (folder / "link.mp4").symlink_to(encode(folder / "elsewhere" / "made.mp4", next(names), 6))
    yield folder / "link.mp4", 6
    yield unsteady(folder / "vfr.mkv", next(names)), 7
    for name, (width, height) in SIZES.items():
        yield resized(folder / name, next(names), width, height), 2
    yield resized(folder / "8K.avi", next(names), 7680, 4320, codec="mjpeg", pix_fmt="yuvj420p"), 2


def resized(path: Path, clip: int, width: int, height: int, *, codec: str = "ffv1", pix_fmt: str = "bgr0") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for index in range(2):
            frame = av.VideoFrame.from_ndarray(image(clip, index), format="rgb24").reformat(width, height)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def unsteady(path: Path, clip: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width = stream.height = 128
        stream.pix_fmt = "bgr0"
        for index, time in enumerate((0, 1, 2, 30, 31, 90, 200)):
            frame = av.VideoFrame.from_ndarray(image(clip, index), format="rgb24")
            frame.pts = time
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def bad_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Make (path, reason) of what cannot be used."""
    whole = encode(folder / "made.mp4", 0, 30).read_bytes()
    (folder / "made.mp4").unlink()
    for name, content, reason in (
        ("empty.mp4", b"", "empty_file"),
        ("garbage.mp4", os.urandom(5000), "not_a_video"),
        ("text.avi", b"no video here\n" * 99, "not_a_video"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "not_a_video"),
        ("cut.mp4", whole[: len(whole) // 2], "not_a_video"),
        ("zeros.mkv", bytes(9000), "not_a_video"),
    ):
        (folder / name).write_bytes(content)
        yield folder / name, reason
    yield sound_only(folder / "sound.mp4"), "no_video_stream"
    yield frameless(folder / "frameless.mp4"), "no_frames"
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    (folder / "nowhere.mp4").symlink_to(folder / "gone")
    (folder / "round.mp4").symlink_to("round.mp4")
    yield folder / "folder.mp4", "empty_folder"
    yield folder / "pipe.mp4", "not_a_file"
    yield folder / "nowhere.mp4", "missing_file"
    yield folder / "round.mp4", "missing_file"
    yield folder / "gone.mp4", "missing_file"
    yield folder / ("long" * 80 + ".mp4"), "unreadable_file"
    yield folder / "nul\0.mp4", "missing_file"


def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def frameless(path: Path) -> Path:
    """A header for 16 x 16 images and none of them."""
    with av.open(str(path), "w", container_options={"movflags": "empty_moov+frag_keyframe"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        container.start_encoding()
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad")


@pytest.fixture(scope="module")
def files(folder: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Give path -> frames of the good clips, in the order of their numbers, and path -> reason of the bad ones."""
    videos = folder / "videos"
    (videos / "elsewhere").mkdir(parents=True)
    good = {str(path): frames for path, frames in good_files(videos)}
    return good, {str(path): reason for path, reason in bad_files(videos)}


@pytest.fixture(scope="module")
def annotations(files: tuple[dict[str, int], dict[str, str]]) -> Annotations:
    good, bad = files
    labels = {path: index for index, path in enumerate([*good, *bad])}
    clips = [
        Clip(name=Path(path).stem, path=path, label=label, role="train", source=path) for path, label in labels.items()
    ]
    return make_annotations(clips, [str(label) for label in labels.values()], "any", "1")


@pytest.fixture(scope="module")
def manifest(folder: Path, annotations: Annotations) -> Manifest:
    before = set(folder.rglob("*")) | set(Path.cwd().iterdir())
    cfg = ShardConfig(clips_per_shard=5)
    shards = folder / "shards"
    made = finish(shards, [write_shard(plan, shards, cfg) for plan in plan_shards(annotations.clips, cfg)], cfg)
    new = (set(folder.rglob("*")) | set(Path.cwd().iterdir())) - before
    assert all(path == shards or path.parent == shards for path in new), "nothing is written elsewhere"
    return made


def test_each_bad_file_has_its_reason_and_every_other_clip_goes_in(
    files: tuple[dict[str, int], dict[str, str]], annotations: Annotations, manifest: Manifest
) -> None:
    good, bad = files
    rows = pq.ParquetFile(manifest.folder / QUARANTINE).read().to_pylist()
    assert {row["path"]: row["reason"] for row in rows} == bad
    assert all(row["detail"] for row in rows)
    path_of = dict(zip(*(annotations.clips[name].to_pylist() for name in ("key", "path")), strict=True))
    assert {path_of[key]: manifest.row(key).n_frames for key in manifest.keys} == good


def test_names_in_the_tars_are_plain(manifest: Manifest) -> None:
    for name in manifest.shards:
        with tarfile.open(manifest.folder / name) as tar:
            members = tar.getmembers()
        assert all(member.isreg() and member.name.count(".") == 1 and "/" not in member.name for member in members)
        assert all(member.name.isascii() and not member.name.startswith(".") for member in members)


def test_every_clip_has_its_own_images_under_its_own_label(annotations: Annotations, manifest: Manifest) -> None:
    labels = dict(zip(*(annotations.clips[name].to_pylist() for name in ("key", "label")), strict=True))
    keys = manifest.keys
    items = ItemTable(keys=keys, labels=np.array([labels[k] for k in keys], np.int32), pseudo=np.zeros(len(keys), bool))
    view = ViewConfig(sampling=SamplingConfig(frames=4), augment=PLAIN)
    cfg = ReaderConfig(order=OrderConfig(batch_size=8), views=(view,))
    seen = []
    for batch in ClipReader(manifest, items, cfg, seed=1).epoch(0):
        for slot, key in enumerate(batch.keys):
            if key:
                assert batch.valid[slot]
                assert batch.labels[slot] == labels[key]
                row = manifest.row(key)
                if row.width == row.height:  # else the crop cuts numbers off
                    assert number(batch.frames[slot, 0, 0].permute(1, 2, 0).numpy(), 1) == labels[key], key
                seen.append(key)
    assert sorted(seen) == keys
    for key in keys:
        assert number(decode_frames(key, manifest.read(key), [0], closed_gops=True)[0], 1) == labels[key], key


def test_what_is_stored_fits_every_decoder(manifest: Manifest) -> None:
    for key in manifest.keys:
        row = manifest.row(key)
        assert row.width % 2 == row.height % 2 == 0
        assert 48 <= min(row.width, row.height) <= 256


def test_the_odd_clips_of_the_world(tmp_path: Path) -> None:
    paths = sorted(need_data("clips/odd").iterdir())
    small = [path for path in paths if path.stat().st_size < 50_000]
    clips = [Clip(name=path.name, path=str(path), label=0, role="train", source=path.name) for path in small]
    cfg = ShardConfig(short_side=64)
    plans = plan_shards(make_annotations(clips, ["any"], "odd", "1").clips, cfg)
    manifest = finish(tmp_path, [write_shard(plan, tmp_path, cfg) for plan in plans], cfg)
    assert len(manifest) == len(small) > 10
    assert pq.ParquetFile(tmp_path / QUARANTINE).read().num_rows == 0
