from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.errors import UserError
from shards.read.config import OrderConfig
from shards.read.order import PADDING, BatchOrder, batches_per_epoch, global_batch, rank_slice, windowed_order
from shards.types import ItemTable


def table(labels: list[int], pseudo: list[bool] | None = None) -> ItemTable:
    n = len(labels)
    flags = np.zeros(n, np.bool_) if pseudo is None else np.array(pseudo, np.bool_)
    return ItemTable(keys=[f"k{i}" for i in range(n)], labels=np.array(labels, np.int32), pseudo=flags)


def epoch_of(items: ItemTable, cfg: OrderConfig, seed: int, epoch: int) -> list[np.ndarray]:
    order = BatchOrder(items, cfg, seed)
    return [order.batch(epoch, b) for b in range(order.length)]


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


def groups_of(batch: np.ndarray, labels: list[int]) -> list[tuple[int, list[int]]]:
    """Cut a batch into runs of one label, each with its positions."""
    runs: list[tuple[int, list[int]]] = []
    for p in batch.tolist():
        if not runs or runs[-1][0] != labels[p]:
            runs.append((labels[p], []))
        runs[-1][1].append(p)
    return runs


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=12),
    groups=st.integers(1, 10),
    k=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_balanced_batches_are_contiguous_groups_of_k(sizes: list[int], groups: int, k: int, seed: int) -> None:
    labels = [c for c, n in enumerate(sizes) for _ in range(n)]
    items = table(labels)
    cfg = OrderConfig(batch_size=groups * k, sampler="balanced", instances_per_class=k, batches_per_epoch=20)
    for batch in epoch_of(items, cfg, seed, 1):
        runs = groups_of(batch, labels)
        assert len({label for label, _ in runs}) == len(runs) == min(groups, len(sizes))
        assert all(len(where) % k == 0 for _, where in runs)
        if groups <= len(sizes):  # P different classes, and K different clips where a class has that many
            for label, where in runs:
                assert len(where) == k
                assert len(set(where)) == min(k, sizes[label])


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 6), min_size=2, max_size=9), groups=st.integers(1, 7), k=st.integers(2, 3))
def test_balanced_uses_every_class_and_every_clip_before_any_comes_again(sizes: list[int], groups: int, k: int) -> None:
    labels = [c for c, n in enumerate(sizes) for _ in range(n)]
    items = table(labels)
    cfg = OrderConfig(batch_size=groups * k, sampler="balanced", instances_per_class=k, batches_per_epoch=7)
    seen: Counter[int] = Counter()
    drawn: Counter[int] = Counter()
    for epoch in range(4):
        for batch in epoch_of(items, cfg, 9, epoch):
            seen.update(batch.tolist())
            drawn.update(labels[p] for p in batch.tolist())
            by_class = [[seen[p] for p, c in enumerate(labels) if c == one] for one in range(len(sizes))]
            assert all(max(counts) - min(counts) <= 1 for counts in by_class)
        spread = [drawn[c] for c in range(len(sizes))]
        assert max(spread) - min(spread) <= k * 2 if groups <= len(sizes) else True
    cycles = 28 * groups // len(sizes)
    assert all(k * cycles <= drawn[c] <= k * (cycles + 1) for c in range(len(sizes)))


def test_a_class_with_one_clip_gives_it_twice() -> None:
    labels = [0, 1, 1, 1]
    cfg = OrderConfig(batch_size=4, sampler="balanced")
    batch = global_batch(table(labels), cfg, 0, 0, 0).tolist()
    assert batch.count(0) == 2


def drawn_of(items: ItemTable, cfg: OrderConfig, batches: int) -> Counter[int]:
    order = BatchOrder(items, cfg, 4)
    return Counter(p for step in range(batches) for p in order.batch(*divmod(step, order.length)).tolist())


@pytest.mark.parametrize(("fraction", "expected"), [(0.5, 4), (0.25, 2), (0.0, 0), (0.75, 6)])
def test_many_pseudo_items_take_their_share_of_the_classes_that_have_them(fraction: float, expected: int) -> None:
    labels = [i % 6 for i in range(12)] + [i % 3 for i in range(100)]
    pseudo = [False] * 12 + [True] * 100
    cfg = OrderConfig(batch_size=24, sampler="balanced", instances_per_class=4, pseudo_fraction=fraction)
    batches = epoch_of(table(labels, pseudo), cfg, 4, 2)
    for batch in batches:
        runs = groups_of(batch, labels)
        assert sorted(label for label, _ in runs) == list(range(6))
        assert all(sum(pseudo[p] for p in where) == (4 * fraction if label < 3 else 0) for label, where in runs)
        assert all(len(set(where)) == 4 for label, where in runs if fraction == 0.5 and label < 3)
        assert sum(pseudo[p] for p in batch) == 3 * 4 * fraction == 1.5 * expected


@pytest.mark.parametrize(
    ("classes", "per_class", "accepted"), [(47, 32, 1), (47, 32, 31), (47, 32, 90), (6, 6, 1), (6, 1, 1)]
)
@pytest.mark.parametrize("k", [2, 4])
def test_few_accepted_labels_move_no_class_and_crowd_nobody_out(
    classes: int, per_class: int, accepted: int, k: int
) -> None:
    """As many draws a class whatever is accepted, and a pseudo-labelled clip not oftener than a true one beside it."""
    labels = [c for c in range(classes) for _ in range(per_class)] + [0] * accepted
    first = len(labels) - accepted
    items = table(labels, [i >= first for i in range(len(labels))])
    batches = 3 * classes * (per_class + accepted)
    drawn = drawn_of(items, OrderConfig(batch_size=4 * k, sampler="balanced", instances_per_class=k), batches)
    shares = Counter(labels[p] for p in drawn.elements())
    assert max(shares.values()) - min(shares.values()) <= 2 * k
    views = [drawn[p] for p in range(len(labels))]
    beside = views[:per_class]
    assert max(views[first:]) <= max(beside) + 1
    if accepted <= per_class:
        assert max(views[first:] + beside) - min(views[first:] + beside) <= 1
    else:
        assert abs(sum(views[first:]) - sum(beside)) <= k


@settings(deadline=None)
@given(
    true=st.lists(st.integers(0, 5), min_size=2, max_size=6),
    accepted=st.lists(st.integers(0, 12), min_size=6, max_size=6),
    percent=st.integers(1, 100),
    k=st.integers(2, 4),
    groups=st.integers(1, 7),
)
def test_pseudo_labels_keep_to_their_share_at_any_fraction(
    true: list[int], accepted: list[int], percent: int, k: int, groups: int
) -> None:
    labels = [c for c, n in enumerate(true) for _ in range(n)]
    first = len(labels)
    labels += [c for c, n in enumerate(accepted) for _ in range(n)]
    if not labels:
        return
    items = table(labels, [i >= first for i in range(len(labels))])
    cfg = OrderConfig(batch_size=groups * k, sampler="balanced", instances_per_class=k, pseudo_fraction=percent / 100)
    drawn = drawn_of(items, cfg, 60)
    turns = Counter(labels[p] for p in drawn.elements())
    assert set(turns) <= set(labels)
    assert max(turns.values()) - min(turns[c] for c in set(labels)) <= 2 * k
    for label, count in turns.items():
        own = [p for p in range(len(labels)) if labels[p] == label]
        pseudo = [p for p in own if p >= first]
        natural = len(pseudo) / len(own)
        share = natural if len(pseudo) == len(own) else min(percent / 100, natural)
        got = sum(drawn[p] for p in pseudo)
        slack = len(own) if share == natural else 1
        assert abs(got - share * count) <= slack
        for side in (pseudo, [p for p in own if p < first]):
            assert not side or max(drawn[p] for p in side) - min(drawn[p] for p in side) <= 2


def test_without_pseudo_items_the_labelled_ones_fill_the_batch_and_the_other_way_round() -> None:
    cfg = OrderConfig(batch_size=8, sampler="balanced")
    assert PADDING not in global_batch(table([0, 1, 2, 3]), cfg, 0, 0, 0)
    only_pseudo = table([0, 1, 2, 3], [True] * 4)
    assert PADDING not in global_batch(only_pseudo, cfg, 0, 0, 0)


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


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(1, 60), min_size=2, max_size=8), cap=st.sampled_from([1.0, 2.0, 4.0]))
def test_no_clip_of_a_balanced_epoch_comes_much_more_often_than_max_repeats(sizes: list[int], cap: float) -> None:
    items = table([label for label, size in enumerate(sizes) for _ in range(size)])
    cfg = OrderConfig(batch_size=8, sampler="balanced", max_repeats=cap)
    epochs = 40
    read = np.concatenate([b for epoch in range(epochs) for b in epoch_of(items, cfg, 1, epoch)])
    seen = Counter(items.labels[read].tolist())
    often = len(read) / len(items)  # of a clip with shuffle
    for label, size in enumerate(sizes):
        assert seen[label] / size <= cap * often * 1.2 + 2 * 8 / size
    equal = len(read) / len(sizes)
    assert seen[int(np.argmax(sizes))] >= 0.85 * equal - 2 * 8


@pytest.mark.parametrize(
    ("cap", "least", "most"), [(None, 2.3, 2.7), (4.0, 2.3, 2.7), (2.0, 1.8, 2.2), (1.0, 0.9, 1.1)]
)
def test_max_repeats_of_a_rare_class(cap: float | None, least: float, most: float) -> None:
    """4 clips beside 47 classes of 10 come 2.5 times an epoch where every class comes as often."""
    items = table([label for label in range(47) for _ in range(10)] + [47] * 4)
    cfg = OrderConfig(batch_size=32, sampler="balanced", max_repeats=cap)
    read = np.concatenate([b for epoch in range(40) for b in epoch_of(items, cfg, 1, epoch)])
    assert least <= np.bincount(read[read >= 470] - 470).mean() / 40 <= most


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
