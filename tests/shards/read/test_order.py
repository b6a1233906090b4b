"""The order of clips: the same for any ranks and from any step, every clip once a pass."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.errors import UserError
from shards.read.config import OrderConfig
from shards.read.order import PADDING, BatchOrder, batches_per_epoch, global_batch, rank_slice
from shards.types import ItemTable
from tests.shards.read.orders import epoch_of, table


@settings(deadline=None)
@given(n=st.integers(1, 200), share=st.integers(1, 9), world=st.sampled_from([1, 2, 3, 4, 8]), epoch=st.integers(0, 5))
def test_shuffle_gives_every_item_exactly_once_over_all_ranks(n: int, share: int, world: int, epoch: int) -> None:
    items, cfg = table([0] * n), OrderConfig(batch_size=share * world)
    read: list[int] = []
    for rank in range(world):
        mine = rank_slice(cfg.batch_size, rank, world)
        batches = [b[mine] for b in epoch_of(items, cfg, 3, epoch)]
        assert len(batches) == -(-n // cfg.batch_size)
        assert all(len(b) == share for b in batches)
        read += [int(p) for b in batches for p in b if p != PADDING]
    assert sorted(read) == list(range(n))


@settings(deadline=None)
@given(labels=st.lists(st.integers(0, 9), min_size=1, max_size=80), sampler=st.sampled_from(["shuffle", "balanced"]))
def test_a_global_batch_is_the_same_for_any_number_of_ranks(labels: list[int], sampler: str) -> None:
    items, cfg = table(labels), OrderConfig(batch_size=16, sampler=sampler)  # type: ignore[arg-type]
    whole = global_batch(items, cfg, 5, 2, 0)
    for world in (1, 2, 4, 8):
        parts = [whole[rank_slice(16, rank, world)] for rank in range(world)]
        assert Counter(np.concatenate(parts).tolist()) == Counter(whole.tolist())
        assert len({len(p) for p in parts}) == 1


def test_order_changes_with_seed_and_epoch_and_repeats_for_the_same() -> None:
    items, cfg = table([0] * 50), OrderConfig(batch_size=50)
    first = global_batch(items, cfg, 1, 0, 0).tolist()
    assert first == global_batch(items, cfg, 1, 0, 0).tolist()
    assert first != global_batch(items, cfg, 2, 0, 0).tolist()
    assert first != global_batch(items, cfg, 1, 1, 0).tolist()
    assert first != list(range(50))


def test_an_explicit_epoch_length_walks_on_through_the_same_passes() -> None:
    items = table([0] * 10)
    short = OrderConfig(batch_size=2, batches_per_epoch=3)
    walked = [p for e in range(5) for b in epoch_of(items, short, 0, e) for p in b.tolist()]
    full = [p for e in range(3) for b in epoch_of(items, OrderConfig(batch_size=2), 0, e) for p in b.tolist()]
    assert batches_per_epoch(items, short) == 3
    assert walked == full[:30]


def test_refusals_name_the_key_and_the_way_out() -> None:
    with pytest.raises(UserError, match=r"empty"):
        batches_per_epoch(table([]), OrderConfig())
    with pytest.raises(UserError, match=r"1 of 2 have none"):
        BatchOrder(table([0, -1]), OrderConfig(batch_size=2, sampler="balanced"), 0)
    with pytest.raises(ValueError, match=r"multiple of instances_per_class"):
        OrderConfig(batch_size=5, sampler="balanced")
    with pytest.raises(ValueError, match=r"sampler = sorted: must be one of shuffle, balanced"):
        OrderConfig(sampler="sorted")  # type: ignore[arg-type]


def test_any_batch_is_found_without_walking_there() -> None:
    items = table([i % 7 for i in range(60)])
    for sampler in ("shuffle", "balanced"):
        cfg = OrderConfig(batch_size=12, sampler=sampler)  # type: ignore[arg-type]
        walked = BatchOrder(items, cfg, 1)
        everything = {(e, b): walked.batch(e, b).tolist() for e in range(3) for b in range(walked.length)}
        assert BatchOrder(items, cfg, 1).batch(2, 3).tolist() == everything[2, 3]


def read_by(items: ItemTable, cfg: OrderConfig, world: int, batches: range) -> list[Counter[int]]:
    """Give the clips of each global batch as the ranks of a run of this size read them, each on its own."""
    orders = [BatchOrder(items, cfg, 7) for _ in range(world)]
    parts = [rank_slice(cfg.batch_size, rank, world) for rank in range(world)]
    return [
        Counter(int(p) for order, mine in zip(orders, parts, strict=True) for p in order.batch(2, b)[mine])
        for b in batches
    ]


@settings(deadline=None)
@given(
    n=st.integers(1, 120),
    sampler=st.sampled_from(["shuffle", "balanced"]),
    worlds=st.lists(st.sampled_from([1, 2, 4, 8]), min_size=2, max_size=4),
    cuts=st.lists(st.floats(0, 1), min_size=1, max_size=3),
)
def test_a_run_resumed_on_other_numbers_of_ranks_reads_what_it_would_have_read(
    n: int, sampler: str, worlds: list[int], cuts: list[float]
) -> None:
    items = table([i % 5 for i in range(n)])
    cfg = OrderConfig(batch_size=8, sampler=sampler)  # type: ignore[arg-type]
    length = batches_per_epoch(items, cfg)
    undisturbed = read_by(items, cfg, 1, range(length))
    places = sorted(round(cut * length) for cut in cuts[: len(worlds) - 1])
    read: list[Counter[int]] = []
    for world, start, stop in zip(worlds, [0, *places], [*places, length], strict=False):
        read += read_by(items, cfg, world, range(start, stop))
    assert read == undisturbed
    if sampler == "shuffle":
        assert sum(read, Counter())[PADDING] == length * 8 - n
        assert all(sum(read, Counter())[p] == 1 for p in range(n))


@settings(deadline=None)
@given(
    labelled=st.integers(1, 60),
    unlabelled=st.integers(1, 200),
    batch=st.sampled_from([4, 8]),
    mu=st.integers(1, 5),
    world=st.sampled_from([1, 2, 4]),
)
def test_two_streams_go_side_by_side_at_any_ratio(
    labelled: int, unlabelled: int, batch: int, mu: int, world: int
) -> None:
    """An epoch is a pass over the labelled clips; the unlabelled ones go on where they were, each once a pass."""
    first, second = table([0] * labelled), ItemTable.unlabelled([f"u{i}" for i in range(unlabelled)])
    cfg = OrderConfig(batch_size=batch)
    other = OrderConfig(batch_size=mu * batch, batches_per_epoch=batches_per_epoch(first, cfg))
    orders = BatchOrder(first, cfg, 3), BatchOrder(second, other, 3)
    assert orders[0].length == orders[1].length
    seen: list[int] = []
    for epoch in range(3):
        own: list[int] = []
        for index in range(orders[0].length):
            for rank in range(world):
                parts = [o.batch(epoch, index)[rank_slice(len(o.batch(epoch, index)), rank, world)] for o in orders]
                assert len(parts[1]) == mu * len(parts[0])
                own += [int(p) for p in parts[0] if p != PADDING]
                seen += [int(p) for p in parts[1] if p != PADDING]
        assert sorted(own) == list(range(labelled))
    for start in range(0, len(seen), unlabelled):
        lap = seen[start : start + unlabelled]
        assert len(set(lap)) == len(lap)


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    size=st.sampled_from([2, 4, 6]),
    balanced=st.booleans(),
    steps=st.integers(0, 40),
)
def test_the_clips_of_some_steps_are_those_of_their_batches(labels, size, balanced, steps) -> None:
    items, cfg = table(labels), OrderConfig(batch_size=size, sampler="balanced" if balanced else "shuffle")
    order = BatchOrder(items, cfg, 3)
    places = [divmod(step, order.length) for step in range(steps)]
    assert order.clips(steps) == sum(int((order.batch(*place) != PADDING).sum()) for place in places)
