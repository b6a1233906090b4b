"""Draw a dive: capsules over sky, platform and water, anti-aliased, seen by a camera that follows.

Images are SIZE x SIZE RGB. World lengths are body heights, x to the right, y up, the water surface at y = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shards.synthetic.config import Nuisance
from shards.synthetic.pose import Floats, Timeline

SIZE = 128
FPS = 25
_VIEW = 1.45  # width of the image in body heights
_PLATFORM_TOP, _PLATFORM_BOTTOM, _PLATFORM_EDGE = 3.0, 2.86, 0.0
_WATER_OPACITY = 0.88
_CAMERA_FLOOR = 0.35
_CAMERA_ANCHOR = (0.6, 2.0)  # where a camera that does not follow would look
_TORSO, _HEAD, _ARM, _THIGH, _SHANK = 0.30, 0.40, 0.34, 0.25, 0.25  # hip to shoulder, hip to head centre, limbs
_HIP_SIDE, _SHOULDER_SIDE, _FACE_FORWARD = 0.06, 0.11, 0.045
_RADIUS = {"torso": 0.075, "head": 0.078, "face": 0.052, "arm": 0.045, "thigh": 0.062, "shank": 0.052}
_COLOUR = {
    "arm": (235, 200, 40),
    "leg": (50, 70, 200),
    "torso": (60, 150, 60),
    "front": (200, 45, 45),
    "back": (25, 35, 30),
    "head": (40, 25, 20),
    "face": (225, 175, 140),
    "platform": (140, 135, 130),
    "water": (30, 105, 160),
    "splash": (240, 245, 250),
}
_SKY_TOP, _SKY_BOTTOM = (120, 170, 215), (205, 225, 235)
_PARTS = ("arm", "leg", "torso", "head", "face")
_DISCS = 10
_NOISE_POOL = 4  # frames' worth of noise drawn; each frame takes a stretch of it

Canvas = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """What a video keeps: colours under its light, body size, limb thickness, width of a pixel in the world."""

    colours: dict[str, Floats]
    size: float
    thickness: float
    pixel: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Capsule:
    """A limb: end points [n, 2] in pixels, radius in pixels, colours [n, 3], drawn where `shown` [n]."""

    first: Floats
    second: Floats
    radius: float
    colours: Floats
    shown: npt.NDArray[np.bool_]


def render(timeline: Timeline, nuisance: Nuisance, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw all frames: uint8 [n, SIZE, SIZE, 3]. `rng` is the video's own, after the timeline's draws."""
    look = _draw_look(nuisance, rng)
    camera = _camera(timeline, nuisance, rng)
    canvas = _background(camera, look)
    for capsule in _body(timeline, camera, look):
        for index in np.flatnonzero(capsule.shown):
            first, second, colour = capsule.first[index], capsule.second[index], capsule.colours[index]
            _paint(canvas[index], first, second, radius=capsule.radius, colour=colour)
    _cover_with_water(canvas, camera, look)
    _splash(canvas, timeline, camera, look, rng)
    return _noisy(canvas, nuisance.noise, rng)


def _draw_look(nuisance: Nuisance, rng: np.random.Generator) -> _Look:
    size, thickness, zoom = np.exp(nuisance.scale * np.array([1.0, 0.8, 0.6]) * rng.standard_normal(3))
    gain = np.exp(nuisance.light * rng.standard_normal()) * np.exp(0.3 * nuisance.light * rng.standard_normal(3))
    hues = np.exp(0.6 * nuisance.light * rng.standard_normal((len(_PARTS), 3)))
    colours = {name: np.array(colour) * gain for name, colour in _COLOUR.items()}
    for part, hue in zip(_PARTS, hues, strict=True):
        colours[part] = colours[part] * hue
    colours["sky_top"], colours["sky_bottom"] = np.array(_SKY_TOP) * gain, np.array(_SKY_BOTTOM) * gain
    return _Look(colours=colours, size=float(size), thickness=float(size * thickness), pixel=float(_VIEW / zoom / SIZE))


def _camera(timeline: Timeline, nuisance: Nuisance, rng: np.random.Generator) -> Floats:
    """Centre of the image [n, 2]: follows the diver with a gain, wanders, never dives."""
    anchor = np.array(_CAMERA_ANCHOR)
    steps = rng.standard_normal((len(timeline), 2))
    walk = np.cumsum(steps, axis=0) / 3
    camera: Floats = anchor + nuisance.track * (timeline.centre - anchor) + nuisance.jitter * (walk - walk.mean(axis=0))
    camera[:, 1] = np.maximum(camera[:, 1], _CAMERA_FLOOR)
    return camera


def _rows(camera: Floats, look: _Look) -> Floats:
    """World height of every image row [n, SIZE]."""
    heights: Floats = camera[:, 1:] - (np.arange(SIZE) + 0.5 - SIZE / 2) * look.pixel
    return heights


def _background(camera: Floats, look: _Look) -> Canvas:
    """Sky by height, and the platform: float32 [n, SIZE, SIZE, 3]."""
    rows = _rows(camera, look)
    share = np.clip(rows / 4.5, 0.0, 1.0)[..., None]
    sky = share * look.colours["sky_top"] + (1 - share) * look.colours["sky_bottom"]
    canvas = np.empty((len(camera), SIZE, SIZE, 3), np.float32)
    canvas[:] = sky[:, :, None, :]
    columns = camera[:, :1] + (np.arange(SIZE) + 0.5 - SIZE / 2) * look.pixel
    vertical = _inside(_PLATFORM_TOP - rows, look) * _inside(rows - _PLATFORM_BOTTOM, look)
    for index in np.flatnonzero(vertical.max(axis=1) > 0):
        lines = np.flatnonzero(vertical[index])
        across = _inside(_PLATFORM_EDGE - columns[index], look)
        cover = (vertical[index, lines, None] * across)[..., None].astype(np.float32)
        part = canvas[index, lines]
        canvas[index, lines] = part + cover * (look.colours["platform"].astype(np.float32) - part)
    return canvas


def _inside(distance: Floats, look: _Look) -> Floats:
    """Cover of a pixel whose centre lies `distance` inside an edge."""
    return np.clip(distance / look.pixel + 0.5, 0.0, 1.0)


def _body(timeline: Timeline, camera: Floats, look: _Look) -> list[_Capsule]:
    """Limbs in the order they are drawn: right side, torso, head, left side."""
    joints = _joints(timeline)
    to_pixels = _projection(timeline, joints, camera, look)
    everywhere = np.ones(len(timeline), np.bool_)

    def capsule(first: str, second: str, part: str, colours: Floats) -> _Capsule:
        shown = np.sin(timeline.twist) > -0.5 if part == "face" else everywhere
        return _Capsule(
            first=to_pixels[first],
            second=to_pixels[second],
            radius=_RADIUS[part] * look.thickness / look.pixel,
            colours=np.broadcast_to(colours, (len(timeline), 3)),
            shown=shown,
        )

    def side(name: str) -> list[_Capsule]:
        return [
            capsule(f"{name}_hip", f"{name}_knee", "thigh", look.colours["leg"]),
            capsule(f"{name}_knee", f"{name}_ankle", "shank", look.colours["leg"]),
            capsule(f"{name}_shoulder", f"{name}_hand", "arm", look.colours["arm"]),
        ]

    middle = [
        capsule("hip", "shoulder", "torso", _torso_colours(timeline, look)),
        capsule("head", "head", "head", look.colours["head"]),
        capsule("face", "face", "face", look.colours["face"]),
    ]
    return side("right") + middle + side("left")


def _joints(timeline: Timeline) -> dict[str, Floats]:
    """Joints [n, 2] of an upright diver, hip at the origin; a twist turns forward out of the image plane."""
    forward, lateral = timeline.facing * np.cos(timeline.twist), np.sin(timeline.twist)
    zero = np.zeros(len(timeline))

    def direction(angle: Floats) -> Floats:
        return np.stack([np.sin(angle) * forward, -np.cos(angle)], axis=1)

    up = np.array([0.0, 1.0])
    joints = {
        "hip": np.stack([zero, zero], axis=1),
        "shoulder": np.stack([zero, zero + _TORSO], axis=1),
        "head": np.stack([zero, zero + _HEAD], axis=1),
        "face": np.stack([_FACE_FORWARD * forward, zero + _HEAD], axis=1),
    }
    for name, sign in (("left", 1.0), ("right", -1.0)):
        aside = np.stack([sign * lateral, zero], axis=1)
        joints[f"{name}_hip"] = _HIP_SIDE * aside
        joints[f"{name}_knee"] = joints[f"{name}_hip"] + _THIGH * direction(timeline.hip)
        joints[f"{name}_ankle"] = joints[f"{name}_knee"] + _SHANK * direction(timeline.hip - timeline.knee)
        joints[f"{name}_shoulder"] = _SHOULDER_SIDE * aside + _TORSO * up
        joints[f"{name}_hand"] = joints[f"{name}_shoulder"] + _ARM * direction(timeline.shoulder)
    return joints


def _projection(timeline: Timeline, joints: dict[str, Floats], camera: Floats, look: _Look) -> dict[str, Floats]:
    """Turn the body about its centre of mass, put that on its path, and go to pixels (x right, y down)."""
    mass = _centre_of_mass(joints)
    cos, sin = np.cos(timeline.rotation), np.sin(timeline.rotation)
    pixels = {}
    for name, joint in joints.items():
        x, y = (joint - mass).T
        turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)
        offset = (timeline.centre + look.size * turned - camera) / look.pixel
        pixels[name] = offset * np.array([1.0, -1.0]) + SIZE / 2
    return pixels


def _centre_of_mass(joints: dict[str, Floats]) -> Floats:
    """Weighted middle of the segments: torso .50, head .08, arms .10, thighs .20, shanks .12."""
    segments = [("hip", "shoulder", 0.50), ("head", "head", 0.08)]
    for name in ("left", "right"):
        segments += [(f"{name}_shoulder", f"{name}_hand", 0.05), (f"{name}_hip", f"{name}_knee", 0.10)]
        segments += [(f"{name}_knee", f"{name}_ankle", 0.06)]
    mass: Floats = np.sum([share * (joints[a] + joints[b]) / 2 for a, b, share in segments], axis=0)
    return mass


def _torso_colours(timeline: Timeline, look: _Look) -> Floats:
    """Side colour, going to the front's or the back's with |sin twist|."""
    turned = np.sin(timeline.twist)[:, None]
    seen = np.where(turned > 0, look.colours["front"], look.colours["back"])
    return np.abs(turned) * seen + (1 - np.abs(turned)) * look.colours["torso"]


def _paint(
    image: Canvas, first: Floats, second: Floats, *, radius: float, colour: Floats, opacity: float = 1.0
) -> None:
    """Blend one anti-aliased capsule into an image [SIZE, SIZE, 3], touching only the box around it."""
    low = np.maximum(np.floor(np.minimum(first, second) - radius - 1), 0).astype(int)
    high = np.minimum(np.ceil(np.maximum(first, second) + radius + 1), SIZE).astype(int)
    if (low >= high).any():
        return
    x = np.arange(low[0], high[0], dtype=np.float32) + np.float32(0.5 - first[0])
    y = (np.arange(low[1], high[1], dtype=np.float32) + np.float32(0.5 - first[1]))[:, None]
    along_x, along_y = (np.float32(v) for v in second - first)
    length = max(float(along_x**2 + along_y**2), 1e-12)
    share = np.clip((x * along_x + y * along_y) / np.float32(length), 0.0, 1.0)
    distance = np.sqrt((x - share * along_x) ** 2 + (y - share * along_y) ** 2)
    cover = (np.float32(opacity) * np.clip(np.float32(radius + 0.5) - distance, 0.0, 1.0))[..., None]
    box = image[low[1] : high[1], low[0] : high[0]]
    box += cover * (colour.astype(np.float32) - box)


def _cover_with_water(canvas: Canvas, camera: Floats, look: _Look) -> None:
    cover = _WATER_OPACITY * _inside(-_rows(camera, look), look)
    water = look.colours["water"].astype(np.float32)
    for index in np.flatnonzero(cover.max(axis=1) > 0):
        lines = np.flatnonzero(cover[index])
        share = cover[index, lines, None, None].astype(np.float32)
        canvas[index, lines] += share * (water - canvas[index, lines])


def _splash(canvas: Canvas, timeline: Timeline, camera: Floats, look: _Look, rng: np.random.Generator) -> None:
    """Discs thrown up where the diver went in, falling back within a tenth of the video or two."""
    side, speed = rng.uniform(-0.3, 0.3, _DISCS), rng.uniform(0.25, 0.6, _DISCS)
    radius = rng.uniform(0.015, 0.05, _DISCS)
    for index in np.flatnonzero(timeline.times > timeline.entry):
        age = (timeline.times[index] - timeline.entry) / 0.15
        height = 2 * speed * age - speed * age**2
        x = _end_x(timeline) + side * (0.4 + 0.6 * min(age, 1.0))
        for disc in np.flatnonzero(height > 0):
            offset = (np.array([x[disc], height[disc]]) - camera[index]) / look.pixel
            place = offset * np.array([1.0, -1.0]) + SIZE / 2
            size, colour = radius[disc] / look.pixel, look.colours["splash"]
            _paint(canvas[index], place, place, radius=size, colour=colour, opacity=0.8)


def _end_x(timeline: Timeline) -> float:
    return float(timeline.centre[-1, 0])


def _noisy(canvas: Canvas, sigma: float, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Add pixel noise and round. Frames take stretches of one pool at random places: no two alike, and cheap."""
    frame = SIZE * SIZE * 3
    pool = np.rint(sigma * rng.standard_normal(_NOISE_POOL * frame, np.float32)).astype(np.int16)
    starts = rng.integers(0, (_NOISE_POOL - 1) * frame, len(canvas))
    images = np.empty(canvas.shape, np.uint8)
    for index, start in enumerate(starts):
        noise = pool[start : start + frame].reshape(SIZE, SIZE, 3)
        np.clip(canvas[index].astype(np.int16) + noise, 0, 255, out=images[index], casting="unsafe")
    return images
