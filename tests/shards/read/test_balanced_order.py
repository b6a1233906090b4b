"""Batches of P classes x K clips: groups, turns of classes and clips, the share of pseudo-labels, repeats."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.read.config import OrderConfig
from shards.read.order import PADDING, BatchOrder, global_batch
from shards.types import ItemTable
from tests.shards.read.orders import epoch_of, table


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
