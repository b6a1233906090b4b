"""Which clip comes when: pure functions of (items, config, seed, epoch, batch index).

The order never depends on the number of ranks. Every rank computes the same global batch and takes its slice of it,
so a run may be resumed on another number of ranks and sees the same clips in the same batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from shards.errors import UserError
from shards.read.config import OrderConfig
from shards.types import NO_LABEL, ItemTable

Positions = npt.NDArray[np.int64]

PADDING = -1
"""Place of a batch that holds no clip (the end of a shuffled pass); it is masked, never filled with a second copy."""

_SHUFFLE, _CLASSES, _CLIPS, _WINDOWS = range(4)  # what a random stream is for: keeps the streams of one seed apart


def batches_per_epoch(items: ItemTable, cfg: OrderConfig) -> int:
    """Count the global batches of an epoch."""
    return cfg.batches_per_epoch or _natural_length(items, cfg)


def rank_slice(batch_size: int, rank: int, world: int) -> slice:
    """Say which places of the global batch a rank reads: contiguous parts, which differ by one place at most."""
    return slice(rank * batch_size // world, (rank + 1) * batch_size // world)


def rank_slots(batch_size: int, world: int) -> int:
    """Count the slots of a rank's batch, the same on every rank: one may stay empty where the places do not divide."""
    return math.ceil(batch_size / world)


def global_batch(
    items: ItemTable, cfg: OrderConfig, seed: int, epoch: int, index: int, *, shards: Positions | None = None
) -> Positions:
    """Give the item positions [batch_size] of one global batch; PADDING where a shuffled pass has run out.

    shards: the number of each item's shard [N], where `shard_window` needs it.
    """
    return BatchOrder(items, cfg, seed, shards).batch(epoch, index)


def windowed_order(shards: Positions, window: int, key: tuple[int, ...]) -> tuple[Positions, Positions]:
    """Order the items so that only `window` shards are in use at a time: (item positions [N], turn of each item [N]).

    The shards come in random order, `window` of them after the other; the items of one such group are shuffled among
    themselves. An item's turn is the place of its shard in that order. Every item comes once. So random is it: an item
    can meet any other of its group in a batch, no item of another group but at the borders of groups, and groups are
    drawn again at each pass. Shards hold neighbours in key order: where keys begin with the class, a small window shows
    few classes at a time.
    """
    rng = np.random.default_rng(key)
    numbers, shard = np.unique(shards, return_inverse=True)
    turn = rng.permutation(len(numbers))[shard]
    return np.lexsort((rng.random(len(shards)), turn // window)), turn


class BatchOrder:
    """`global_batch` for many batches of the same items: groups the classes once and keeps the current permutations."""

    def __init__(self, items: ItemTable, cfg: OrderConfig, seed: int, shards: Positions | None = None) -> None:
        """Group the items by class where the sampler needs it. UserError when they cannot be sampled this way.

        shards: the number of each item's shard [N]; needed with `shard_window`.
        """
        if cfg.shard_window and (shards is None or len(shards) != len(items)):
            raise ValueError(f"shard_window = {cfg.shard_window} needs the shard of each of {len(items)} items")
        self._shards = shards
        self._windows: dict[int, tuple[Positions, Positions]] = {}
        self.cfg = cfg
        self.seed = seed
        self.length = batches_per_epoch(items, cfg)
        self._count = len(items)
        self._natural = _natural_length(items, cfg)
        self._classes = _balanced_classes(items, cfg) if cfg.sampler == "balanced" else ()
        turns = _turns([made.size for made in self._classes], cfg.max_repeats)
        self._slots = [(place, turn, count) for place, count in enumerate(turns) for turn in range(count)]

    def batch(self, epoch: int, index: int) -> Positions:
        """Give the item positions [batch_size] of global batch `index` of `epoch`."""
        if not 0 <= index < self.length:
            raise IndexError(f"batch {index} of an epoch of {self.length}")
        step = epoch * self.length + index
        return self._balanced(step) if self.cfg.sampler == "balanced" else self._shuffled(step)

    def clips(self, steps: int) -> int:
        """Count the clips of the first `steps` batches, over all epochs; the last batch of a pass may be short."""
        size = self.cfg.batch_size
        if self.cfg.sampler == "balanced":
            return steps * (size // self.cfg.instances_per_class) * self.cfg.instances_per_class
        laps, index = divmod(steps, self._natural)
        return laps * self._count + index * size

    def _shuffled(self, step: int) -> Positions:
        """Cut the permutation of the current pass; a pass holds every item once, and epochs follow each other in it."""
        lap, index = divmod(step, self._natural)
        start = index * self.cfg.batch_size
        part = self._part(lap, slice(start, start + self.cfg.batch_size))
        batch = np.full(self.cfg.batch_size, PADDING, np.int64)
        batch[: len(part)] = part
        return batch

    def _part(self, lap: int, places: slice) -> Positions:
        """Cut a piece out of a pass; in a windowed pass clips of one shard lie side by side, so that one rank has them.

        A rank then reads about its share of the window's shards, not all of them.
        """
        if self._shards is None or not self.cfg.shard_window:
            return _permutation((self.seed, _SHUFFLE, lap), self._count)[places]
        if lap not in self._windows:
            key = (self.seed, _WINDOWS, lap)
            self._windows = {lap: windowed_order(self._shards, self.cfg.shard_window, key)}
        order, turn = self._windows[lap]
        part = order[places]
        return part[np.argsort(turn[part], kind="stable")]

    def _balanced(self, step: int) -> Positions:
        """Lay out P groups of K clips, those of one class side by side."""
        k, count = self.cfg.instances_per_class, len(self._slots)
        total = self.cfg.batch_size // k
        groups: list[tuple[int, Positions]] = []
        for place, which in enumerate(_draws((self.seed, _CLASSES, 0), count, total, step)):
            cycle = (step * total + place) // count  # each class comes `turns` times a cycle, once without max_repeats
            number, turn, turns = self._slots[which]
            drawn = self._classes[number]
            groups.append((drawn.label, drawn.clips(self.seed, k, cycle * turns + turn)))
        first = {label: place for place, (label, _) in reversed(list(enumerate(groups)))}
        groups.sort(key=lambda group: first[group[0]])
        return np.concatenate([clips for _, clips in groups])


@dataclass(frozen=True, slots=True)
class _Class:
    """A class of a balanced batch: one pool of clips, or true and pseudo labels apart, of which `share` are pseudo.

    phase: where the class stands in a share of K that is no whole number, so that not all classes round up together.
    """

    label: int
    pools: tuple[Positions, ...]
    share: Fraction
    phase: Fraction

    @property
    def size(self) -> int:
        """Count its clips."""
        return sum(map(len, self.pools))

    def clips(self, seed: int, k: int, turn: int) -> Positions:
        """Draw the K clips of one turn of the class."""
        if len(self.pools) == 1:
            return self.pools[0][_draws((seed, _CLIPS, 0, self.label), len(self.pools[0]), k, turn)]
        before, after = (math.floor(self.share * k * t + self.phase) for t in (turn, turn + 1))
        low, pseudo = math.floor(self.share * k), after - before
        rounded_up = before - turn * low  # turns before this one with a pseudo-label more than `low`
        nth = rounded_up if pseudo > low else turn - rounded_up
        sides = [
            pool[_draws((seed, _CLIPS, tag, self.label, width), len(pool), width, nth)]
            for tag, (pool, width) in enumerate(zip(self.pools, (k - pseudo, pseudo), strict=True))
            if width
        ]
        return np.concatenate(sides)


def _natural_length(items: ItemTable, cfg: OrderConfig) -> int:
    if not len(items):
        raise UserError("there is no clip to read: the list of items is empty; check the split's roles and the filters")
    return math.ceil(len(items) / cfg.batch_size)


def _balanced_classes(items: ItemTable, cfg: OrderConfig) -> tuple[_Class, ...]:
    """Gather the classes of true and pseudo labels, each once: how many labels were accepted moves no class's share.

    A class's clips are one pool unless pseudo-labels are more than `pseudo_fraction` of it. So a single accepted label
    is seen as often as a true one of its class, and many cannot crowd the true ones out.
    """
    nameless = int(np.sum(items.labels == NO_LABEL))
    if nameless:
        raise UserError(
            f"order.sampler = balanced needs a label for every clip, {nameless} of {len(items)} have none; "
            "use order.sampler = shuffle for unlabelled clips"
        )
    share = Fraction(str(cfg.pseudo_fraction))
    true = _by_class(items, pseudo=False)
    pseudo = _by_class(items, pseudo=True) if share or not true else {}
    labels, none = sorted(true.keys() | pseudo.keys()), np.empty(0, np.int64)
    classes = []
    for place, label in enumerate(labels):
        sides = true.get(label, none), pseudo.get(label, none)
        apart = len(sides[0]) > 0 and len(sides[1]) > share * (len(sides[0]) + len(sides[1]))
        pools = sides if apart else (np.sort(np.concatenate(sides)),)
        classes.append(_Class(label, pools, share, Fraction(place, len(labels))))
    return tuple(classes)


def _turns(sizes: Sequence[int], max_repeats: float | None) -> list[int]:
    """Say how often each class of `sizes` clips comes in a cycle: once, unless that repeats a clip too often.

    A class's share of the draws is at most `max_repeats` times its share of the clips; what small classes lose, the
    others take in equal parts. Shares are rounded to an eighth of the smallest.
    """
    if max_repeats is None or not sizes:
        return [1] * len(sizes)
    left, open_share, shares = len(sizes), 1.0, dict.fromkeys(range(len(sizes)), 0.0)
    for place in sorted(shares, key=sizes.__getitem__):  # the smallest first: whoever keeps its bound leaves the rest
        shares[place] = min(max_repeats * sizes[place] / sum(sizes), open_share / left)
        left, open_share = left - 1, open_share - shares[place]
    if max(shares.values()) - min(shares.values()) < 1e-9:
        return [1] * len(sizes)
    return [round(8 * share / min(shares.values())) for share in shares.values()]


def _by_class(items: ItemTable, *, pseudo: bool) -> dict[int, Positions]:
    """Map labels to the positions of their items, ascending."""
    where = np.flatnonzero(items.pseudo == pseudo)
    if not len(where):
        return {}
    where = where[np.argsort(items.labels[where], kind="stable")]
    labels, starts = np.unique(items.labels[where], return_index=True)
    return dict(zip(labels.tolist(), np.split(where, starts[1:]), strict=True))


def _draws(key: tuple[int, ...], n: int, width: int, window: int) -> Positions:
    """Draw window `window` [width] of an endless sequence over 0..n-1 that uses each value once before any comes again.

    Inside a window no value comes twice when n >= width. The sequence is cut into laps of lcm(n, width) draws, at whose
    ends a cycle of n and a window end together; so each lap stands alone and any window can be drawn directly.
    """
    windows = math.lcm(n, width) // width
    lap, place = divmod(window, windows)
    return _lap((*key, lap), n, width)[place * width : (place + 1) * width]


@lru_cache(maxsize=4096)
def _lap(key: tuple[int, ...], n: int, width: int) -> Positions:
    """Draw one lap [lcm(n, width)]: permutations of n one after the other, without repeats inside a window."""
    rng = np.random.default_rng(key)
    lap = np.empty(math.lcm(n, width), np.int64)
    for start in range(0, len(lap), n):
        order = rng.permutation(n)
        taken = lap[start - start % width : start]  # the window under way already holds these
        head = order[~np.isin(order, taken)][: width - len(taken)]
        lap[start : start + n] = np.concatenate([head, order[~np.isin(order, head)]])
    lap.setflags(write=False)
    return lap


@lru_cache(maxsize=2)
def _permutation(key: tuple[int, ...], n: int) -> Positions:
    """Permute 0..n-1; the last two are kept, since a reader walks through one after the other."""
    order = np.random.default_rng(key).permutation(n)
    order.setflags(write=False)
    return order
