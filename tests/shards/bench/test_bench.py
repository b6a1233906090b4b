"""What the data benchmark measures with: its clips, its contenders, its large manifest and the peers' images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shards.bench import large, peers, reading, writing
from shards.bench.clips import BenchClips, given_clips, make_clips, moving_images
from shards.storage.manifest import Manifest


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> BenchClips:
    return make_clips(tmp_path_factory.mktemp("bench"), 5, (18, 21))


def test_drawn_clips_move_and_are_stored_as_kinetics_is(clips: BenchClips) -> None:
    images = moving_images(3, 48, 64, np.random.default_rng(1))
    assert images.shape == (3, 48, 64, 3)
    assert np.abs(images[0].astype(int) - images[2]).mean() > 1
    assert np.array_equal(images, moving_images(3, 48, 64, np.random.default_rng(1)))
    assert len(clips.keys) == 5
    for key in clips.keys:
        row = clips.manifest.row(key)
        assert (row.width, row.height, row.codec) == (336, 256, "h264")
        assert 18 <= row.n_frames <= 21
        assert clips.loose[key].read_bytes() == clips.manifest.read(key)


def test_given_shards_are_measured_on_clips_spread_over_them(clips: BenchClips, tmp_path: Path) -> None:
    some = given_clips(Path(clips.manifest.folder), tmp_path, 3)
    assert some.keys == ["clip000", "clip002", "clip004"]
    assert some.sources is None
    assert given_clips(Path(clips.manifest.folder), tmp_path / "all", 99).keys == clips.keys


def test_every_contender_reads(clips: BenchClips) -> None:
    found = reading.contenders(clips.manifest, clips.keys, (32, 48))
    assert list(found) == ["raw", "sparse", "reader 32", "reader 48"]
    for call in found.values():
        call()


def test_the_large_manifest_holds_the_small_ones_clips(clips: BenchClips, tmp_path: Path) -> None:
    large.write_large(clips.manifest, tmp_path / "large", 1000)
    manifest = Manifest.open(tmp_path / "large")
    assert len(manifest) == 1000
    stored = {clips.manifest.read(key) for key in clips.keys}
    assert {manifest.read(key) for key in manifest.keys[::7]} == stored


@pytest.mark.parametrize("name", ["OpenCV", "torchcodec", "torchvision"])
def test_a_peer_that_works_here_gives_the_images_of_the_reader(clips: BenchClips, name: str) -> None:
    found, missing = peers.peers()
    assert set(found) | set(missing) == {"OpenCV", "torchcodec", "torchvision"}
    if name not in found:
        pytest.skip(f"{name}: {missing[name]}")
    batch = reading.make_reader(clips.manifest, clips.keys, 64, train=False).read(clips.keys)
    for slot, key in enumerate(batch.keys):
        theirs = found[name](clips.loose[key], batch.frame_ids[slot, 0].tolist(), 64)
        assert (theirs - batch.frames[slot, 0]).abs().mean() < 0.1


def test_ffmpeg_is_asked_for_the_profile_of_the_shards() -> None:
    text = " ".join(writing.arguments("in.mp4", Path("out.mp4"), 256))
    for part in ("-c:v libx264 -preset veryfast -crf 20 -g 12 -bf 0", "-i in.mp4", ",256)'", "+faststart"):
        assert part in text
