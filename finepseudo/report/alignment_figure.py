"""The alignment of two clips as an image: cost matrix, soft path over it, frames above and beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from finepseudo.report.reading import Floats
from finepseudo.report.svg import png, svg, tag, text

Frames = npt.NDArray[np.uint8]  # [T, h, w, 3]
SIDE = 352  # pixels of the cost matrix
THUMB = 44  # pixels of a frame in the strips
RAMP = ((0, 32, 80), (62, 76, 108), (124, 123, 120), (188, 174, 108), (255, 232, 70))
PIXELS = 96  # longest side of an embedded frame


def alignment(cost: Floats, path: Floats, frames_u: Frames, frames_v: Frames, names: tuple[str, str]) -> str:
    """Draw cost [T, T'] = 1 - cosine (rows u, columns v), path [T, T'] = expected alignment in [0, 1], frames uint8."""
    left = top = THUMB + 28
    parts = [
        text(left, 11, f"v: {names[1]}", class_="label"),
        text(11, top, f"u: {names[0]}", class_="label", anchor="end", rotate=-90),
        *_strip(frames_v, left, across=True),
        *_strip(frames_u, top, across=False),
        tag(
            "image",
            href=_heat(cost),
            x=left,
            y=top,
            width=SIDE,
            height=SIDE,
            class_="pixels",
            preserveAspectRatio="none",
        ),
        *_soft_path(path, left, top),
        *_scale(cost, left, top + SIDE + 12),
    ]
    alt = (
        f"Alignment cost of {cost.shape[0]} by {cost.shape[1]} frames, {names[0]} and {names[1]}, "
        f"from {cost.min():.2f} to {cost.max():.2f}; mean cost along the soft path {_path_cost(cost, path):.2f}"
    )
    return svg(left + SIDE + 4, top + SIDE + 44, parts, alt)


def _path_cost(cost: Floats, path: Floats) -> float:
    return float((cost * path).sum() / max(float(path.sum()), 1e-9))


def _coloured(share: Floats) -> Frames:
    """Colour shares in [0, 1] from dark blue over grey to yellow: lightness rises evenly, for every kind of eye."""
    places = np.linspace(0, 1, len(RAMP))
    channels = [np.interp(share, places, column) for column in zip(*RAMP, strict=True)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _heat(cost: Floats) -> str:
    lo, hi = float(cost.min()), float(cost.max())
    return png(_coloured((cost - lo) / max(hi - lo, 1e-9)))


def _soft_path(path: Floats, left: float, top: float) -> list[str]:
    """Draw each cell of the path as a dot whose area is the expected alignment there."""
    rows, columns = path.shape
    height, width = SIDE / rows, SIDE / columns
    dots = [
        tag(
            "circle",
            cx=left + (int(j) + 0.5) * width,
            cy=top + (int(i) + 0.5) * height,
            r=min(0.42 * min(width, height), 6.0) * float(np.sqrt(min(path[i, j], 1.0))),
        )
        for i, j in np.argwhere(path > 0.02)
    ]
    return [tag("g", "".join(dots), class_="softpath")] if dots else []


def _strip(frames: Frames, start: float, *, across: bool) -> list[str]:
    """Lay up to 8 frames along the side of the matrix, each over the rows or columns it stands for."""
    count = min(8, len(frames))
    span = SIDE / count
    parts = []
    for k in range(count):
        frame = frames[int((k + 0.5) * len(frames) / count)]
        at = {"x": start + k * span, "y": 20} if across else {"x": 20, "y": start + k * span}
        size = {"width": span - 1, "height": THUMB} if across else {"width": THUMB, "height": span - 1}
        parts.append(tag("image", href=png(shrink(frame)), preserveAspectRatio="xMidYMid slice", **at, **size))
    return parts


def shrink(frame: npt.NDArray[np.uint8], limit: int = PIXELS) -> npt.NDArray[np.uint8]:
    """Average blocks of pixels until no side is longer than `limit`; uint8 [h, w, 3] in and out."""
    factor = -(-max(frame.shape[:2]) // limit)
    height, width = (side // factor * factor for side in frame.shape[:2])
    blocks = frame[:height, :width].reshape(height // factor, factor, width // factor, factor, 3)
    small: npt.NDArray[np.uint8] = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
    return small


def _scale(cost: Floats, left: float, top: float) -> list[str]:
    """Explain the colours: a ramp from the lowest to the highest cost, and the dots."""
    ramp = png(_coloured(np.linspace(0, 1, 64)[None]))
    return [
        tag("image", href=ramp, x=left, y=top, width=110, height=10, preserveAspectRatio="none"),
        text(left, top + 24, f"{cost.min():.2f}", class_="tick"),
        text(left + 110, top + 24, f"{cost.max():.2f}", anchor="end", class_="tick"),
        text(left + 118, top + 9, "cost 1 − cosine", class_="tick"),
        tag("circle", cx=left + 248, cy=top + 5, r=5, class_="softpath"),
        text(left + 258, top + 9, "soft path", class_="tick"),
    ]


def pair_names(examples: Mapping[str, Any], tag_: str, truth: Mapping[str, int], classes: list[str]) -> tuple[str, str]:
    """Name the two clips of an example: key and class."""
    named = []
    for key in (str(k) for k in np.asarray(examples[f"{tag_}_keys"]).ravel()[:2]):
        label = truth.get(key, -1)
        named.append(f"{key} ({classes[label]})" if 0 <= label < len(classes) else key)
    return (named[0], named[1]) if len(named) == 2 else ("u", "v")
