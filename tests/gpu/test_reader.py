from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

for package in ("av", "webdataset", "nvidia.dali"):
    pytest.importorskip(package)

from shards.errors import UserError
from shards.read.config import AugmentConfig, OrderConfig, ReaderConfig, SamplingConfig, ViewConfig
from shards.read.decode import choose_decoder
from shards.read.reader import ClipReader
from shards.types import ItemTable
from tests.shards.numbered import number, write

LENGTHS = {f"clip{i}": 20 + 3 * i for i in range(6)}
KEYS = list(LENGTHS)


def gpu_decoder_missing() -> str:
    try:
        choose_decoder("dali-gpu", ["h264"], torch.device("cuda"))
    except UserError as error:
        return str(error)
    return ""


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
video_engine = pytest.mark.skipif(bool(gpu_decoder_missing()), reason=gpu_decoder_missing())
CASES = [
    pytest.param("h264", "auto", "dali+pyav", marks=video_engine),
    pytest.param("h264", "dali-gpu", "dali-gpu", marks=video_engine),
    pytest.param("vp9", "dali-gpu", "dali-gpu", marks=video_engine),
    ("h264", "pyav", "pyav"),
    ("vp9", "dali-cpu", "dali-cpu"),
]


@pytest.mark.parametrize(("profile", "decode", "decoder"), CASES)
def test_the_gpu_gives_the_frames_the_cpu_gives(tmp_path: Path, profile: str, decode: str, decoder: str) -> None:
    manifest = write(tmp_path, LENGTHS, profile)
    strong = AugmentConfig(size=64, jitter=0.8, gray=0.2, blur=0.4)
    views = (
        ViewConfig(name="strong", sampling=SamplingConfig(policy="gitdl", frames=8), augment=strong),
        ViewConfig(name="weak", sampling=SamplingConfig(frames=6), augment=AugmentConfig(size=48)),
    )
    cfg = ReaderConfig(
        order=OrderConfig(batch_size=4),
        views=views,
        decode=decode,  # type: ignore[arg-type]
    )
    items = ItemTable(keys=KEYS, labels=np.arange(6, dtype=np.int32), pseudo=np.zeros(6, np.bool_))
    reader = ClipReader(manifest, items, cfg, seed=1, device="cuda")
    assert reader.decoder.name == decoder
    plain = ReaderConfig(order=cfg.order, views=cfg.views, decode="pyav")
    oracle = ClipReader(manifest, items, plain, seed=1)
    for ours, theirs in zip(reader.epoch(0), oracle.epoch(0), strict=True):
        assert ours.keys == theirs.keys
        assert torch.equal(ours.valid, theirs.valid)
        for name, view in ours.views.items():
            assert view.frames.device.type == "cuda"
            assert torch.equal(view.frame_ids, theirs.views[name].frame_ids)
            assert (view.frames.cpu() - theirs.views[name].frames).abs().mean() < 0.05
    decoders = {"dali+pyav": {"dali", "pyav"}, "pyav": {"pyav"}}.get(decoder, {"dali"})
    assert set(reader.decoded) == decoders
    assert reader.fallbacks == 0
    still = ClipReader(manifest, items, cfg, seed=1, device="cuda").read(KEYS).views["strong"]
    for slot in range(len(KEYS)):
        images = still.frames[slot, 0].cpu().permute(0, 2, 3, 1).numpy() * 0.225 + 0.45
        assert [number(image) for image in images] == still.frame_ids[slot, 0].tolist()
