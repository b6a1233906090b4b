"""Too little memory and a broken device end the run with what to do; they never make a clip bad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from shards.errors import UserError
from shards.read.config import AugmentConfig, OrderConfig, ReaderConfig, SamplingConfig, ViewConfig
from shards.read.dali_graph import ClipGraph
from shards.read.faults import DecodeError, judged
from shards.read.loader import ClipLoader
from shards.read.reader import ClipReader
from shards.read.torch_views import TorchViews
from shards.storage.manifest import Manifest
from shards.types import ItemTable
from tests.shards.numbered import write

KEYS = [f"clip{i}" for i in range(4)]
TORCH = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 600.00 MiB.")
# DALI's words; an error above "encountered:" is a path of the source
DALI = """Critical error in pipeline:
Error in {device} operator `nvidia.dali.fn.{operator}`,
which was used in the pipeline definition with the following traceback:

  File "/home/out of memory/shards/dali_graph.py", line 196, in _decoded_views

encountered:

{words}
C++ context: [/opt/dali/dali/operators/video/decoder/video_decoder_base.h:246]
Current pipeline object is no longer valid."""


def dali(words: str, operator: str = "decoders.video", device: str = "Mixed") -> RuntimeError:
    return RuntimeError(DALI.format(words=words, operator=operator, device=device))


@pytest.fixture(scope="module", params=["vp9", "h264"])
def manifest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write(tmp_path_factory.mktemp(request.param), dict.fromkeys(KEYS, 20), request.param)


def read(manifest: Manifest) -> ClipReader:
    cfg = ReaderConfig(
        order=OrderConfig(batch_size=4),
        views=(ViewConfig(sampling=SamplingConfig(frames=4), augment=AugmentConfig(size=32)),),
        prefetch=0,
    )
    items = ItemTable(keys=KEYS, labels=np.arange(4, dtype=np.int32), pseudo=np.zeros(4, bool))
    return ClipReader(manifest, items, cfg, seed=1)


def failing(real: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """Fail at the first two calls, as a passing lack of memory does; work afterwards."""
    calls = []

    def call(*args: Any) -> Any:
        calls.append(1)
        if len(calls) < 3:
            raise error
        return real(*args)

    return call


def fail_inside(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Fail where views are made: of vp9 by DALI, of h264 by torch."""
    for kind, name in ((ClipGraph, "_pixels"), (TorchViews, "_transform_all")):
        monkeypatch.setattr(kind, name, failing(getattr(kind, name), error))


@pytest.mark.parametrize("error", [TORCH, dali("CUDA allocation failed"), MemoryError("std::bad_alloc")])
def test_out_of_memory_says_what_to_lower_and_masks_no_clip(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fail_inside(monkeypatch, error)
    reader = read(manifest)
    with pytest.raises(UserError, match=r"out of memory .*lower order.batch_size .*reading.prefetch"):
        next(reader.epoch(0))
    assert not reader.bad


def test_a_batch_that_finds_no_memory_says_so_too(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipLoader, "_empty", failing(ClipLoader._empty, TORCH))
    with pytest.raises(UserError, match="out of memory"):
        next(read(manifest).epoch(0))


@pytest.mark.parametrize(
    "error", [torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), dali("no", "resize")]
)
def test_a_broken_device_and_a_broken_graph_are_not_a_clips_fault(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fail_inside(monkeypatch, error)
    reader = read(manifest)
    with pytest.raises(RuntimeError, match=r"illegal memory access|operator `nvidia.dali.fn.resize`") as caught:
        next(reader.epoch(0))
    assert not isinstance(caught.value, DecodeError)
    assert not reader.bad


def test_a_graph_works_after_a_lack_of_memory(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = read(manifest)
    fail_inside(monkeypatch, TORCH)
    for _ in range(2):
        with pytest.raises(UserError):
            next(reader.epoch(0))
    assert next(reader.epoch(0)).valid.all()


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ('Assert on "IsValid()" failed: Failed to create video decoder for "memory file"', DecodeError),
        ("Start frame 0 is out of bounds for sample #0, expected range [0, 0)", DecodeError),
        ("Video is too small in at least one dimension.", DecodeError),
        ("CUDA driver API error CUDA_ERROR_NOT_SUPPORTED (801)", DecodeError),
        ("CUDA runtime API error cudaErrorMemoryAllocation (2): out of memory", UserError),
        ("Can't allocate 4096 bytes on device 0.", UserError),
        ("CUDA driver API error CUDA_ERROR_OUT_OF_MEMORY (2)", UserError),
    ],
)
def test_what_the_decoder_says_is_told_apart(words: str, kind: type[Exception]) -> None:
    found = judged(dali(words), torch.device("cpu"))
    assert type(found) is kind
    assert words in str(found)


def test_after_an_error_that_stays_the_device_is_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(device: torch.device) -> None:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", dead)
    found = judged(dali("CUDA driver API error CUDA_ERROR_UNKNOWN (999)"), torch.device("cuda", 1))
    assert type(found) is RuntimeError
    assert "cuda:1 failed" in str(found)
