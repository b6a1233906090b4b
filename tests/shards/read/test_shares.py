"""DALI and PyAV decode at once: both are given clips, as many as each has time for, and nobody's frames change."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.errors import UserError
from shards.read import loader
from shards.read.config import AugmentConfig, OrderConfig, ReaderConfig, SamplingConfig, ViewConfig
from shards.read.dali_graph import ClipGraph
from shards.read.decode import DecoderChoice
from shards.read.reader import ClipReader
from shards.read.shares import DALI, PYAV, RECENT, WARM, Shares
from shards.read.streams import StreamInput, StreamReader
from shards.storage.manifest import Manifest
from shards.types import ItemTable
from tests.shards.numbered import number, write

STILL = AugmentConfig(size=64, scale=(1, 1), ratio=(1, 1), flip=0, mean=(0, 0, 0), std=(1, 1, 1))
KEYS = [f"clip{i}" for i in range(8)]
SECONDS = st.floats(1e-6, 1e3)


@pytest.fixture(scope="module")
def vp9(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write(tmp_path_factory.mktemp("vp9"), dict.fromkeys(KEYS, 20), "vp9")


def config(decode: str = "dali+pyav", *, repeatable: bool = False) -> ReaderConfig:
    return ReaderConfig(
        order=OrderConfig(batch_size=4),
        views=(ViewConfig(sampling=SamplingConfig(frames=6), augment=STILL),),
        decode=decode,  # type: ignore[arg-type]
        threads=2,
        prefetch=1,
        repeatable=repeatable,
    )


def read(manifest: Manifest, decode: str = "dali+pyav", *, repeatable: bool = False) -> ClipReader:
    return ClipReader(manifest, ItemTable.unlabelled(KEYS), config(decode, repeatable=repeatable), seed=1)


def check(reader: ClipReader, epochs: int = 2) -> None:
    for epoch in range(epochs):
        for batch in reader.epoch(epoch):
            assert batch.valid.all()
            for (slot, key), view in product(enumerate(batch.keys), batch.views.values()):
                images = view.frames[slot, 0].permute(0, 2, 3, 1).numpy()
                assert [number(image) for image in images] == view.frame_ids[slot, 0].tolist()
                assert number(images[0], 1) == KEYS.index(key)
    assert not reader.bad
    assert sum(reader.decoded.values()) == epochs * len(KEYS)


def measured(dali: float, pyav: float, *, threads: int = 3) -> Shares:
    """Give what has seen runs of DALI and clips of PyAV that take so many seconds, on all threads together."""
    shares = Shares()
    for clips in range(1, WARM + 2):
        shares.dali_took(clips, dali * clips)
    shares.pyav_took(threads * pyav, threads)
    return shares


@given(SECONDS, SECONDS, st.integers(0, 96))
def test_both_are_busy_as_long_and_dali_never_longer(dali: float, pyav: float, clips: int) -> None:
    shares = measured(dali, pyav)
    part = shares.fraction * clips
    assert part * dali == pytest.approx((clips - part) * pyav)
    assert shares.of(clips) in {int(part), int(part * (1 + 1e-9))}


def test_below_a_clip_of_a_batch_dali_gets_none() -> None:
    assert [measured(0.1, 0.0025).of(clips) for clips in (1, 32, 42, 96)] == [0, 0, 1, 2]
    assert [measured(0.01, 0.01).of(clips) for clips in (1, 2, 32)] == [0, 1, 16]


def test_what_the_first_runs_take_says_nothing_and_later_one_slow_run_changes_nothing() -> None:
    shares = Shares()
    shares.pyav_took(1.0, 1)
    for _ in range(WARM):
        shares.dali_took(1, 500.0)
        assert [shares.of(clips) for clips in (1, 2, 8)] == [1, 1, 2]
    for seconds in (3.0, 500.0, 3.0):
        shares.dali_took(1, seconds)
    assert shares.fraction == pytest.approx(1 / 4)
    for _ in range(RECENT[DALI]):
        shares.dali_took(1, 1.0)
    assert shares.fraction == pytest.approx(1 / 2)


def test_both_decode_and_every_clip_has_its_own_frames(vp9: Manifest) -> None:
    reader = read(vp9)
    assert str(reader.decoder) == "dali+pyav (asked for)"
    check(reader)
    assert reader.decoded[DALI] > 0
    assert reader.decoded[PYAV] > 0
    assert reader.fallbacks == 0
    streams = {name: StreamInput(items=ItemTable.unlabelled(KEYS), reader=config()) for name in ("few", "many")}
    both = StreamReader(vp9, streams, seed=1)
    with_both = both.batches()
    next(with_both)
    with_both.close()
    assert sum(both.decoded.values()) >= 8
    assert str(both.decoder) == str(reader.decoder)


@pytest.mark.parametrize(("decode", "decoded"), [("pyav", {PYAV: 16}), ("dali-cpu", {DALI: 16})])
def test_one_alone_decodes_them_all(vp9: Manifest, decode: str, decoded: dict[str, int]) -> None:
    reader = read(vp9, decode)
    check(reader)
    assert reader.decoded == decoded


def test_each_decodes_while_the_other_does(vp9: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    real_run, real_frames = ClipGraph.run, loader.wanted_frames
    dali_began, pyav_began, met = threading.Event(), threading.Event(), []

    def run(self: ClipGraph, samples: list[Any], out: list[Any]) -> None:
        dali_began.set()
        met.append(pyav_began.wait(20))
        real_run(self, samples, out)

    def frames(*args: Any, **kwargs: Any) -> Iterator[Any]:
        pyav_began.set()
        met.append(dali_began.wait(20))
        yield from real_frames(*args, **kwargs)

    monkeypatch.setattr(ClipGraph, "run", run)
    monkeypatch.setattr(loader, "wanted_frames", frames)
    next(iter(read(vp9).epoch(0)))
    assert len(met) >= 4
    assert all(met)


def test_a_slow_decoder_gets_fewer_clips(vp9: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ClipGraph.run

    def run(self: ClipGraph, samples: list[Any], out: list[Any]) -> None:
        time.sleep(0.2)  # a clip of PyAV's takes some milliseconds
        real(self, samples, out)

    monkeypatch.setattr(ClipGraph, "run", run)
    reader = read(vp9)
    check(reader, epochs=3)
    assert reader.decoded[DALI] == WARM + 1  # one each time until it is measured, none after


def test_what_dali_does_not_take_is_pyavs(vp9: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DecoderChoice, "takes", lambda self, codec, width, height: False)
    reader = read(vp9)
    check(reader)
    assert reader.decoded == {PYAV: 16}
    assert reader.fallbacks == 8


def test_where_bits_must_repeat_the_clock_does_not_choose(vp9: Manifest) -> None:
    with pytest.raises(UserError, match=r"decode = dali\+pyav: .*bits do not repeat; use auto or pyav"):
        read(vp9, repeatable=True)
    assert read(vp9, "auto", repeatable=True).decoder.name == "dali-cpu"
