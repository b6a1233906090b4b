"""Which frames of a clip are looked at: pure functions of (true frame count, config, generator).

No index ever reaches the frame count, and a short clip repeats frames instead of being padded with zeros. With no
generator every policy has one fixed answer, the one evaluation uses.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from shards.read.config import LOCAL_CLIPS, MIN_COMMON, SamplingConfig
from shards.read.groups import group_slots

FrameIds = npt.NDArray[np.int64]


def frame_indices(n_frames: int, cfg: SamplingConfig, rng: np.random.Generator | None) -> FrameIds:
    """Pick the frames [views, T] of a clip of `n_frames`; without a generator the fixed choice of evaluation.

    ValueError when the clip has no frame.
    """
    if n_frames < 1:
        raise ValueError(f"a clip of {n_frames} frames has nothing to sample")
    match cfg.policy:
        case "uniform":
            return np.stack([_uniform(n_frames, cfg, view, rng) for view in range(cfg.views)])
        case "dense":
            return _dense(n_frames, cfg, rng)[None]
        case "gitdl":
            return _gitdl(n_frames, cfg.frames, rng)
        case "tclr":
            return _tclr(n_frames, cfg, rng)
        case "views":
            return _views(n_frames, cfg)
        case "groups":
            return _groups(n_frames, cfg, rng)


def _stretched(n: int, t: int) -> FrameIds:
    """Spread T indices evenly over a clip that is too short for the policy; frames repeat when n < T."""
    return np.rint(np.linspace(0, n - 1, t)).astype(np.int64)


def _uniform(n: int, cfg: SamplingConfig, view: int, rng: np.random.Generator | None) -> FrameIds:
    """Take one frame of each of T equal segments: a random one, or, in view v of V, the one at place (v + 1/2) / V.

    Each view of a test spans the whole clip, as in training, and together they cover it.
    """
    t = cfg.frames
    if n < t:
        return _stretched(n, t)
    edges = np.arange(t + 1, dtype=np.int64) * n // t
    width = np.diff(edges)
    inside = (2 * view + 1) * width // (2 * cfg.views) if rng is None else rng.random(t) * width
    return edges[:-1] + inside.astype(np.int64)


def _dense(n: int, cfg: SamplingConfig, rng: np.random.Generator | None) -> FrameIds:
    """Take T frames at the stride from a random start, or from the middle of the clip."""
    slack = n - ((cfg.frames - 1) * cfg.stride + 1)
    if slack < 0:
        return _stretched(n, cfg.frames)
    return _start(slack, rng) + cfg.stride * np.arange(cfg.frames, dtype=np.int64)


def _gitdl(n: int, t: int, rng: np.random.Generator | None) -> FrameIds:
    """Take a global clip at stride s = clamp(floor(n / T), 2, T / 4) and a local one at stride 1 inside its span.

    The local clip starts on a frame of the global one, never its first: they share floor((T - 1) / s) + 1 >= 4 frames.
    Strides and starts must differ: in two clips of the same frames a frame's place gives away its identity, and the
    encoder, which knows the place, need not look at the image. So a clip of fewer than 2 T - 1 frames is slowed down:
    the global clip takes min(n, T) frames one after the other, the local one half of them, each twice as long.
    """
    grid = np.arange(t, dtype=np.int64)
    if n >= 2 * t - 1:
        stride = min(max(n // t, 2), max(t // MIN_COMMON, 2))
        first = _start(n - (t - 1) * stride - 1, rng)
        local = first + stride * _later((t - 1) * (stride - 1) // stride, rng)
        return np.stack([first + stride * grid, local + grid])
    seen = min(n, t)
    part = (seen + 1) // 2
    first = _start(n - seen, rng)
    local = first + _later(seen - part, rng)
    return np.stack([first + _stretched(seen, t), local + grid * part // t])


def _tclr(n: int, cfg: SamplingConfig, rng: np.random.Generator | None) -> FrameIds:
    """Take a global clip, the local clips that it spans, one after the other, and all of them once more.

    Local clips have the stride, the global one takes every LOCAL_CLIPS-th frame of theirs. A clip that is too short for
    them is slowed down. Source: TCLR, whose code leaves videos of 56 frames or fewer out.
    """
    whole = _dense(n, replace(cfg, policy="dense", frames=LOCAL_CLIPS * cfg.frames), rng)
    clips = np.concatenate([whole[None, ::LOCAL_CLIPS], whole.reshape(LOCAL_CLIPS, cfg.frames)])
    return np.concatenate([clips, clips])


def _views(n: int, cfg: SamplingConfig) -> FrameIds:
    """Place the clips [views, T] evenly from the first to the last possible start; a single one in the middle."""
    slack = n - ((cfg.frames - 1) * cfg.stride + 1)
    if slack < 0:
        return np.stack([_stretched(n, cfg.frames)] * cfg.views)
    starts = [slack // 2] if cfg.views == 1 else np.rint(np.linspace(0, slack, cfg.views))
    return np.asarray(starts, np.int64)[:, None] + cfg.stride * np.arange(cfg.frames, dtype=np.int64)


def _groups(n: int, cfg: SamplingConfig, rng: np.random.Generator | None) -> FrameIds:
    """Take a frame of every group's segments [views, T], group after group, each view again; ascending in a group.

    A clip shorter than T is cut into as many segments as it has frames, but at least one for each context frame: below
    that frames repeat. A group without a segment of its own takes one from each of its equal parts of the clip, which
    other groups may have taken too. Without a generator view v of V takes the place (v + 1/2) / V of every segment.
    """
    segments = cfg.frames if n >= cfg.frames else max(cfg.groups[-1], n)
    slots = group_slots(cfg.groups, segments)
    ids = np.empty((cfg.views, cfg.frames), np.int64)
    for view in range(cfg.views):
        inside = np.full((2, cfg.frames), (view + 0.5) / cfg.views) if rng is None else rng.random((2, cfg.frames))
        chosen = [
            slot
            for size, own in zip(cfg.groups, slots, strict=True)
            for slot in (own or _spread(size, segments, inside[0]))
        ]
        half = segments if n >= segments else 0  # edges are rounded; where frames repeat, they do so evenly
        edges = (2 * np.arange(segments + 1, dtype=np.int64) * n + half) // (2 * segments)
        low, high = edges[:-1][chosen], edges[1:][chosen]
        ids[view] = np.minimum(low + (inside[1] * np.maximum(high - low, 1)).astype(np.int64), n - 1)
    return ids


def _spread(size: int, segments: int, inside: npt.NDArray[np.float64]) -> list[int]:
    """Pick a segment from each of `size` equal parts of them."""
    low = np.arange(size) * segments // size
    width = np.maximum((np.arange(size) + 1) * segments // size - low, 1)
    picked: list[int] = (low + (inside[:size] * width).astype(np.int64)).tolist()
    return picked


def _start(slack: int, rng: np.random.Generator | None) -> int:
    """Pick a start in 0..slack: a random one, or the middle."""
    return slack // 2 if rng is None else int(rng.integers(slack + 1))


def _later(slack: int, rng: np.random.Generator | None) -> int:
    """Pick a start in 1..slack, as `_start` does; 0 where there is no other."""
    return 1 + _start(slack - 1, rng) if slack else 0
