from __future__ import annotations

import io
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from shards.errors import SampleError, UserError
from shards.read.config import AugmentConfig, ReaderConfig, SamplingConfig, ViewConfig
from shards.read.dali_graph import has_dali, import_dali, without_dali
from shards.read.decode import choose_decoder, decode_frames
from shards.read.nvdec import CodecLimits, VideoEngine
from shards.read.reader import ClipReader
from shards.storage.manifest import Manifest
from shards.types import ClipBatch, ItemTable
from tests.shards.numbered import encode, number, write

CPU = torch.device("cpu")
SHORT_GOP = {"g": "12", "bf": "0", "preset": "veryfast", "x264-params": "open-gop=0"}


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}),  # B-frames, long groups
        ("a.mp4", "libx264", SHORT_GOP),
        ("a.avi", "mpeg4", {"bf": "2"}),
        ("a.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
        ("a.avi", "mjpeg", {}),
        ("a.mkv", "libx264", {"g": "7"}),
    ],
)
def test_the_frames_asked_for_come_back(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    data = encode(tmp_path / name, 5, 40, codec, options).read_bytes()
    for wanted in ([0], [39], [3, 4, 19, 38], list(range(40))):
        frames = decode_frames("a", data, wanted, closed_gops=False)
        assert frames.shape == (len(wanted), 128, 128, 3)
        assert [number(f) for f in frames] == wanted
        assert all(number(f, 1) == 5 for f in frames)
        red, green, blue = frames[0, 120, 10].tolist()
        assert red > 150 > green
        assert red > 150 > blue


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("a.mp4", "libx264", SHORT_GOP), ("a.webm", "libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"})],
)
def test_skipping_groups_gives_the_same_pixels(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    data = encode(tmp_path / name, 1, 60, codec, options).read_bytes()
    for wanted in ([0], [13], [59], [5, 30, 31], [11, 12], list(range(0, 60, 3))):
        skipping = decode_frames("a", data, wanted, closed_gops=True)
        assert np.array_equal(skipping, decode_frames("a", data, wanted, closed_gops=False))


def damaged(data: bytes, packet: int) -> bytes:
    """Overwrite the payload of one packet."""
    with av.open(io.BytesIO(data)) as container:
        hit = [p for p in container.demux(video=0) if p.size][packet]
        at, size = hit.pos, hit.size
    return data[:at] + b"\xff" * size + data[at + size :]


def test_groups_without_a_wanted_frame_are_not_decoded(tmp_path: Path) -> None:
    data = damaged(encode(tmp_path / "a.mp4", 1, 48, "libx264", SHORT_GOP).read_bytes(), 3)
    assert number(decode_frames("a", data, [30], closed_gops=True)[0]) == 30
    for closed in (True, False):
        with pytest.raises(SampleError) as caught:
            decode_frames("a", data, [5], closed_gops=closed)
        assert caught.value.reason == "decode_error"


def test_unusable_bytes_give_a_reason(tmp_path: Path) -> None:
    whole = encode(tmp_path / "a.mp4", 1, 20, "libx264", SHORT_GOP | {"movflags": "+faststart"}).read_bytes()
    cases = {
        "garbage": bytes(range(256)) * 20,
        "empty": b"",
        "text": b"no video here\n" * 50,
        "cut": whole[: -len(whole) // 3],
    }
    for name, data in cases.items():
        for closed in (True, False):
            with pytest.raises(SampleError) as caught:
                decode_frames(name, data, [0, 19], closed_gops=closed)
            assert caught.value.reason in {"not_a_video", "truncated", "decode_error", "too_few_frames"}
            assert caught.value.key == name


@pytest.mark.parametrize("closed", [True, False])
def test_a_frame_past_the_end_is_never_invented(tmp_path: Path, closed: bool) -> None:
    data = encode(tmp_path / "a.mp4", 1, 20, "libx264", SHORT_GOP).read_bytes()
    with pytest.raises(SampleError) as caught:
        decode_frames("a", data, [3, 20], closed_gops=closed)
    assert caught.value.reason == "too_few_frames"


def test_auto_takes_what_the_machine_and_the_codec_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_decoder("auto", ["vp9"], CPU).name == "dali-cpu"
    assert choose_decoder("auto", ["vp9 yuv444p"], CPU).name == "dali-cpu"
    assert choose_decoder("auto", ["h264"], CPU).name == "pyav"
    assert choose_decoder("auto", ["vp9", "h264"], CPU).name == "pyav"
    assert choose_decoder("pyav", ["vp9"], CPU).name == "pyav"
    assert "h264" in str(choose_decoder("auto", ["h264"], CPU))
    engine = VideoEngine({"h264": CodecLimits(width=(48, 4096), height=(16, 4096), macroblocks=65536, engines=7)})
    monkeypatch.setattr("shards.read.decode._gpu_decoder", lambda device: engine)
    assert choose_decoder("auto", ["h264"], CPU).name == "dali+pyav"
    assert choose_decoder("auto", ["theora"], CPU).name == "pyav"
    repeatable = choose_decoder("auto", ["h264"], CPU, repeatable=True)
    assert str(repeatable).startswith("pyav (h264; deterministic: the video engine beside PyAV does not repeat bits, ")
    mixed = choose_decoder("auto", ["av1", "h264"], CPU)
    assert str(mixed) == "dali+pyav (av1, h264 by the GPU's video engine and PyAV at once; av1 by PyAV alone)"
    assert mixed.dali_device == "mixed"
    assert [mixed.takes("h264", 340, 256), mixed.takes("av1", 340, 256), mixed.takes("h264", 32, 32)] == [
        True,
        False,
        False,
    ]
    deep = choose_decoder("dali-gpu", ["h264", "h264 yuv420p10le"], CPU)  # of ten bits: clip by clip by PyAV
    assert [deep.takes(codec, 340, 256) for codec in ("h264", "h264 yuv420p10le")] == [True, False]
    with pytest.raises(UserError, match=r"has no hevc; use decode = auto or pyav"):
        choose_decoder("dali-gpu", ["hevc"], CPU)


def test_a_decoder_that_cannot_work_is_refused_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"dali-cpu cannot decode h264 .*use decode = pyav"):
        choose_decoder("dali-cpu", ["h264", "vp9"], CPU)
    with pytest.raises(UserError, match=r"dali\+pyav cannot decode h264 .*use decode = pyav"):
        choose_decoder("dali+pyav", ["h264"], CPU)
    with pytest.raises(UserError, match=r"decode = dali\+pyav: no CUDA device is visible; use decode = auto or pyav"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        choose_decoder("dali+pyav", ["h264"], torch.device("cuda"))
    with pytest.raises(UserError, match=r"the device is cpu; use decode = auto or pyav"):
        choose_decoder("dali-gpu", ["h264"], CPU)
    with pytest.raises(UserError, match=r"decode = nvdec: must be one of"):
        choose_decoder("nvdec", ["h264"], CPU)


def test_missing_dali_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    monkeypatch.setitem(sys.modules, "nvidia", None)
    with pytest.raises(UserError, match=r"pip install 'finepseudo\[cuda13\]'"):
        import_dali()
    with pytest.raises(UserError, match=r"make env CUDA=13"):
        without_dali("dali-cpu", True, CPU)


def test_without_dali_a_cpu_reads_by_pyav_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    write(tmp_path, {"clip0": 20, "clip1": 24}, "vp9")
    manifest = Manifest.open(tmp_path / "shards")
    views = (ViewConfig(sampling=SamplingConfig(frames=8), augment=AugmentConfig(size=24, flip=0.0)),)

    def batch() -> ClipBatch:
        items = ItemTable.unlabelled(manifest.keys)
        return ClipReader(manifest, items, ReaderConfig(views=views), seed=0, device=CPU).read(["clip0", "clip1"])

    by_dali = batch()
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    monkeypatch.setitem(sys.modules, "nvidia", None)
    has_dali.cache_clear()
    by_torch = [batch(), batch()]
    has_dali.cache_clear()
    assert [record.message for record in caplog.records if "DALI" in record.message] == [
        "NVIDIA DALI is not installed: PyAV decodes and torch makes the views, on this CPU as good"
    ]
    assert all(bool(one.valid.all()) for one in by_torch)
    inside = (..., slice(1, -1), slice(1, -1))  # DALI looks beyond the window at the border
    levels = 255 * 0.224 * (by_dali.frames[inside] - by_torch[0].frames[inside]).abs()
    assert levels.max() <= 4 and levels.mean() < 1, "two decoders round colours, and two filters sizes, each their way"


def test_a_cpu_that_decodes_h264_needs_no_dali(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    assert without_dali("auto", False, CPU)
    assert not caplog.records, "nothing is missed"
