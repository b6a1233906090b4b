"""What the video engine takes is asked of the driver; what it does not take PyAV reads, and it is counted."""

from __future__ import annotations

import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest
import torch

from shards.read import nvdec
from shards.read.config import AugmentConfig, OrderConfig, ReaderConfig, SamplingConfig, ViewConfig
from shards.read.dali_graph import ClipGraph
from shards.read.decode import DecoderChoice
from shards.read.faults import DecodeError
from shards.read.nvdec import CodecLimits, VideoEngine, ask_engine, mistaken
from shards.read.reader import ClipReader
from shards.storage.manifest import Manifest
from shards.types import ItemTable
from tests.shards.numbered import number, write

STILL = AugmentConfig(size=64, scale=(1, 1), ratio=(1, 1), flip=0, mean=(0, 0, 0), std=(1, 1, 1))
CPU = torch.device("cpu")
H264 = CodecLimits(width=(48, 4096), height=(16, 4096), macroblocks=65536, engines=7)
# A driver that decodes H.264 in 4:2:0 with 8 bits, by the offsets of cuviddec.h, and refuses to talk about VP8.
DRIVER = """
#include <string.h>
int cuvidGetDecoderCaps(unsigned char *caps) {
    int codec, chroma, zero[4] = {0};
    memcpy(&codec, caps, 4);
    memcpy(&chroma, caps + 4, 4);
    if (codec == 9 || chroma != 1 || memcmp(caps + 8, zero, 16)) return 1;
    caps[24] = codec == 4;
    caps[25] = 7;
    unsigned most[3] = {4096, 4096, 65536};
    unsigned short least[2] = {48, 16};
    memcpy(caps + 28, most, 12);
    memcpy(caps + 40, least, 4);
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler for a stand-in of the driver's library")
def test_the_driver_is_asked_for_each_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "driver.c").write_text(DRIVER)
    library = tmp_path / "libnvcuvid.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "driver.c")], check=True)
    monkeypatch.setattr(nvdec, "LIBRARY", str(library))
    assert ask_engine(CPU) == VideoEngine({"h264": H264})


def test_a_machine_without_the_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvdec, "LIBRARY", "libnothing.so.1")
    assert ask_engine(CPU) == "the driver's video library libnothing.so.1 is missing"


def test_an_engine_takes_what_lies_within_its_limits() -> None:
    engine = VideoEngine({"h264": H264, "hevc": CodecLimits(width=(1, 99), height=(1, 99), macroblocks=4, engines=1)})
    for width, height, taken in (
        (48, 16, True),
        (47, 16, False),
        (48, 15, False),
        (4096, 4096, True),
        (4097, 16, False),
    ):
        assert engine.takes("h264", width, height) == taken
    assert engine.takes("hevc", 32, 32)
    assert not engine.takes("hevc", 33, 32)
    assert not engine.takes("theora", 64, 64)


@pytest.mark.parametrize(
    ("clip", "beside", "wrong"),
    [
        ((340, 256), {(352, 256)}, False),  # as high: its columns are the first ones
        ((256, 340), {(256, 352)}, True),
        ((256, 340), {(256, 340), (256, 336), (240, 352)}, False),
        ((1920, 1080), {(1920, 1088), (1280, 720)}, True),
        ((100, 60), {(104, 64)}, True),  # in blocks of 8
        ((256, 352), {(256, 352), (256, 340)}, False),
    ],
)
def test_a_clip_that_dali_would_take_for_a_higher_one_is_known(
    clip: tuple[int, int], beside: set[tuple[int, int]], wrong: bool
) -> None:
    assert mistaken(*clip, beside) is wrong


KEYS = [f"clip{i}" for i in range(6)]


@pytest.fixture(scope="module")
def vp9(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write(tmp_path_factory.mktemp("vp9"), dict.fromkeys(KEYS, 20), "vp9")


def read(manifest: Manifest, decode: str) -> ClipReader:
    cfg = ReaderConfig(
        order=OrderConfig(batch_size=3),
        views=(
            ViewConfig(name="few", sampling=SamplingConfig(frames=4), augment=STILL),
            ViewConfig(name="dense", sampling=SamplingConfig(policy="dense", frames=6), augment=STILL),
        ),
        decode=decode,  # type: ignore[arg-type]
    )
    return ClipReader(manifest, ItemTable.unlabelled(KEYS), cfg, seed=1)


def check(reader: ClipReader) -> None:
    for epoch in range(2):
        for batch in reader.epoch(epoch):
            assert batch.valid.all()
            for (slot, key), view in product(enumerate(batch.keys), batch.views.values()):
                images = view.frames[slot, 0].permute(0, 2, 3, 1).numpy()
                assert [number(image) for image in images] == view.frame_ids[slot, 0].tolist()
                assert number(images[0], 1) == KEYS.index(key)
    assert not reader.bad


def test_clips_that_dali_fails_on_are_read_by_pyav_and_counted(vp9: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    real, broken, failures = ClipGraph.run, {vp9.read("clip1")[:2000], vp9.read("clip4")[:2000]}, []

    def run(self: ClipGraph, samples: list, out: list) -> None:
        if self.spec.decoder and any(bytes(sample.data[0][:2000]) in broken for sample in samples):
            failures.append(len(samples))
            raise DecodeError("CUDA driver API error CUDA_ERROR_INVALID_IMAGE (200)")
        real(self, samples, out)

    monkeypatch.setattr(ClipGraph, "run", run)
    reader = read(vp9, "dali-cpu")
    check(reader)
    assert reader.fallbacks == 2
    assert failures.count(1) == 2  # from then on they go to PyAV at once


def test_clips_that_the_engine_does_not_take_never_reach_it(vp9: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ClipGraph.run

    def run(self: ClipGraph, samples: list, out: list) -> None:
        assert self.spec.decoder is None
        real(self, samples, out)

    monkeypatch.setattr(ClipGraph, "run", run)
    monkeypatch.setattr(
        DecoderChoice, "takes", lambda self, codec, width, height: (codec, width, height) == ("vp9", 1, 1)
    )
    reader = read(vp9, "dali-cpu")
    check(reader)
    assert reader.fallbacks == 6
    assert set(reader._loader.by_pyav.values()) == {"vp9 128x128 is nothing for the video engine"}


def test_clips_that_the_engine_would_mistake_are_read_by_pyav(vp9: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vp9.sizes == {(128, 128)}
    monkeypatch.setattr(vp9, "sizes", frozenset({(128, 128), (144, 144)}))
    monkeypatch.setattr(nvdec, "_BLOCKS", (144,))  # as if the clips were stored so
    reader = read(vp9, "pyav")
    reader._loader.decoder = DecoderChoice("dali-gpu", "asked for", "mixed")
    check(reader)
    assert reader.fallbacks == 6
    assert set(reader._loader.by_pyav.values()) == {"128x128 would be decoded as a larger clip beside it is"}
