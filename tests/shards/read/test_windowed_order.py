"""Passes that go through some shards at a time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.read.config import OrderConfig
from shards.read.order import PADDING, BatchOrder, global_batch, rank_slice, windowed_order
from tests.shards.read.orders import table


def shards_of(sizes: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes).astype(np.int64)


SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=20)


@settings(deadline=None)
@given(sizes=SIZES, window=st.integers(1, 8), share=st.integers(1, 5), world=st.sampled_from([1, 2, 4]))
def test_a_windowed_pass_has_every_item_once_on_any_number_of_ranks(
    sizes: list[int], window: int, share: int, world: int
) -> None:
    shards = shards_of(sizes)
    items, cfg = table([0] * len(shards)), OrderConfig(batch_size=4 * share, shard_window=window)
    order = BatchOrder(items, cfg, 7, shards)
    seen: list[int] = []
    for index in range(order.length):
        batch = order.batch(3, index)
        parts = [batch[rank_slice(cfg.batch_size, rank, world)] for rank in range(world)]
        read = [int(p) for part in parts for p in part if p != PADDING]
        assert Counter(read) == Counter(int(p) for p in batch if p != PADDING)
        again = global_batch(items, cfg, 7, 3, index, shards=shards)
        assert again.tolist() == batch.tolist()
        seen += read
    assert sorted(seen) == list(range(len(shards)))


@settings(deadline=None)
@given(sizes=SIZES, window=st.integers(1, 8), key=st.integers(0, 10**6))
def test_only_so_many_shards_are_in_use_at_a_time(sizes: list[int], window: int, key: int) -> None:
    shards = shards_of(sizes)
    order, turn = windowed_order(shards, window, (key,))
    by_shard = dict(zip(shards.tolist(), turn.tolist(), strict=True))
    assert sorted(by_shard.values()) == list(range(len(sizes)))
    first = {shard: min(np.flatnonzero(shards[order] == shard)) for shard in by_shard}
    last = {shard: max(np.flatnonzero(shards[order] == shard)) for shard in by_shard}
    for place in range(len(order)):
        open_now = [shard for shard in by_shard if first[shard] <= place <= last[shard]]
        assert len(open_now) <= window


def test_a_windowed_pass_is_random_and_another_each_time() -> None:
    shards = shards_of([16] * 32)
    items, cfg = table([0] * 512), OrderConfig(batch_size=64, shard_window=8)
    order = BatchOrder(items, cfg, 0, shards)
    groups = [{int(s) for b in range(2) for s in shards[order.batch(e, b)]} for e in range(20)]
    assert all(len(group) == 8 for group in groups)  # a group of 8 shards holds exactly two batches
    assert len({tuple(sorted(group)) for group in groups}) == 20
    assert set.union(*groups) == set(range(32))
    first = [set(order.batch(epoch, 0).tolist()) for epoch in range(20)]
    assert len({tuple(sorted(batch)) for batch in first}) == 20
    assert all(len({int(s) for s in shards[list(batch)]}) >= 6 for batch in first)  # all of the group are mixed


def test_a_rank_reads_its_share_of_the_shards() -> None:
    """Each rank of eight reads about a window / 8 of the shards in a batch, not all of them."""
    shards = shards_of([64] * 64)
    items, cfg = table([0] * len(shards)), OrderConfig(batch_size=128, shard_window=16)
    order = BatchOrder(items, cfg, 0, shards)
    counts = [
        len(set(shards[order.batch(0, index)[rank_slice(128, rank, 8)]].tolist()))
        for index in range(order.length)
        for rank in range(8)
    ]
    assert np.mean(counts) < 4
    plain = BatchOrder(items, OrderConfig(batch_size=128), 0)
    assert np.mean([len(set(shards[plain.batch(0, i)[:16]].tolist())) for i in range(32)]) > 10


def test_a_window_needs_shards_and_shuffle() -> None:
    with pytest.raises(ValueError, match=r"shard_window = 2: needs sampler shuffle"):
        OrderConfig(sampler="balanced", shard_window=2)
    with pytest.raises(ValueError, match="needs the shard of each"):
        BatchOrder(table([0] * 3), OrderConfig(shard_window=2), 0)
