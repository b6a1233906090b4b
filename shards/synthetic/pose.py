"""The true motion of a rendered dive: phases, joint angles, rotation, twist and path of the centre of mass.

Time is video-normalised, 0..1. Lengths are body heights, angles radians. Positive rotation turns counter-clockwise.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shards.synthetic.config import Flight, Nuisance, Takeoff, parse_class

Floats = npt.NDArray[np.float64]

# Hip flexion, knee flexion and shoulder angle in degrees.
POSES = {
    "stand": (0.0, 0.0, 15.0),
    "reach": (5.0, 5.0, 170.0),
    "straight": (5.0, 0.0, 25.0),
    "twist": (0.0, 0.0, 70.0),
    "pike": (125.0, 0.0, 75.0),
    "tuck": (125.0, 130.0, 60.0),
    "free": (60.0, 40.0, 100.0),
    "entry": (0.0, 0.0, 178.0),
}
# Mean share of the video and how strongly it varies.
_PREP, _LAUNCH, _ENTRY, _AFTER = (0.15, 1.0), (0.06, 0.5), (0.08, 0.5), (0.09, 1.0)
_PER_SOMERSAULT, _PER_TWIST = 0.20, 0.10
_REACH_SHARE = 0.45  # last part of prep in which the arms go up
_LAUNCH_TURN = 0.06  # turns that the launch takes from the first flight phase
_SMOOTH_POSE, _SMOOTH_ROTATION, _SMOOTH_TWIST = 0.05, 0.03, 0.02
_FRAMES = (28, 44)
_GRID = 1001
_START_HEIGHT, _START_X, _END_X = 3.52, -0.15, 1.35
_SINK = 1.6  # body heights from mid entry to the end of the video


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """Motion of one dive, a value per frame [n]; `phase` [n] counts in `phases`; `centre` is [n, 2]."""

    phases: tuple[str, ...]
    phase: npt.NDArray[np.int8]
    times: Floats
    hip: Floats
    knee: Floats
    shoulder: Floats
    rotation: Floats
    twist: Floats
    centre: Floats
    facing: int
    entry: float

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.times)

    def vectors(self) -> Floats:
        """Pose vectors [n, 8]: what a perfect frame encoder could read off the image."""
        columns = [np.sin(self.rotation), np.cos(self.rotation), np.sin(self.twist), self.facing * np.cos(self.twist)]
        columns += [np.sin(self.hip), np.sin(self.knee), np.cos(self.shoulder), np.cos(self.hip)]
        return np.stack(columns, axis=1)


def video_generator(seed: int, split: str, class_name: str, index: int) -> np.random.Generator:
    """Make the generator of one video; it depends on these four and nothing else."""
    text = f"{seed}/{split}/{class_name}/{index}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def draw_timeline(class_name: str, nuisance: Nuisance, rng: np.random.Generator) -> Timeline:
    """Draw length and phase durations, then lay the motion of the class over them."""
    takeoff, flights = parse_class(class_name)
    times = np.linspace(0.0, 1.0, int(rng.integers(_FRAMES[0], _FRAMES[1] + 1)))
    edges = np.concatenate([[0.0], np.cumsum(_durations(flights, nuisance.durations, rng))])
    edges[-1] = 1.0
    phases = ("prep", "launch", *(flight.pose for flight in flights), "entry", "after")
    hip, knee, shoulder = _pose_curves(edges, takeoff, flights)
    entry = float((edges[-3] + edges[-2]) / 2)
    return Timeline(
        phases=phases,
        phase=np.clip(np.searchsorted(edges, times, side="right") - 1, 0, len(phases) - 1).astype(np.int8),
        times=times,
        hip=np.interp(times, _grid(), hip),
        knee=np.interp(times, _grid(), knee),
        shoulder=np.interp(times, _grid(), shoulder),
        rotation=np.interp(times, _grid(), _rotation_curve(edges, takeoff, flights)),
        twist=np.interp(times, _grid(), _twist_curve(edges, flights)),
        centre=_centre(times, launch=float(edges[1]), entry=entry),
        facing=takeoff.facing,
        entry=entry,
    )


def _durations(flights: tuple[Flight, ...], spread: float, rng: np.random.Generator) -> Floats:
    """Share of each phase: base * exp(spread * k * N(0, 1)), normalised to sum 1."""
    airborne = [(_PER_SOMERSAULT * flight.somersaults + _PER_TWIST * flight.twists, 1.0) for flight in flights]
    base, weight = np.array([_PREP, _LAUNCH, *airborne, _ENTRY, _AFTER]).T
    lengths = base * np.exp(spread * weight * rng.standard_normal(len(base)))
    shares: Floats = lengths / lengths.sum()
    return shares


def _pose_curves(edges: Floats, takeoff: Takeoff, flights: tuple[Flight, ...]) -> Floats:
    """Smoothed joint angles [3, grid]."""
    reach = edges[1] * (1 - _REACH_SHARE)
    starts = np.concatenate([[0.0, reach], edges[1:-1]])
    first = "reach" if takeoff.handstand else "stand"
    names = [first, "reach", "reach", *(flight.pose for flight in flights), "entry", "entry"]
    angles = np.radians([POSES[name] for name in names])
    steps = angles[np.searchsorted(starts, _grid(), side="right") - 1]
    return np.stack([_smooth(column, _SMOOTH_POSE) for column in steps.T])


def _rotation_curve(edges: Floats, takeoff: Takeoff, flights: tuple[Flight, ...]) -> Floats:
    turns = [flight.somersaults for flight in flights]
    turns[0] -= _LAUNCH_TURN
    values = np.cumsum([0.5 if takeoff.handstand else 0.0, 0.0, _LAUNCH_TURN, *turns, 0.0, 0.0])
    return _smooth(takeoff.turn * 2 * np.pi * np.interp(_grid(), edges, values), _SMOOTH_ROTATION)


def _twist_curve(edges: Floats, flights: tuple[Flight, ...]) -> Floats:
    values = np.cumsum([0.0, 0.0, 0.0, *(flight.twists for flight in flights), 0.0, 0.0])
    return _smooth(2 * np.pi * np.interp(_grid(), edges, values), _SMOOTH_TWIST)


def _centre(times: Floats, *, launch: float, entry: float) -> Floats:
    """Path of the centre of mass [n, 2]: on the platform, in flight until mid entry, then sinking."""
    s = np.clip((times - launch) / (entry - launch), 0.0, 1.0)
    sunk = np.clip((times - entry) / (1.0 - entry), 0.0, 1.0)
    x = _START_X + (_END_X - _START_X) * s
    return np.stack([x, _START_HEIGHT + 1.5 * s - 4.6 * s**2 - _SINK * sunk], axis=1)


def _grid() -> Floats:
    return np.linspace(0.0, 1.0, _GRID)


def _smooth(values: Floats, width: float) -> Floats:
    """Mean under a Hann window that is `width` of the video wide; ends are continued."""
    half = max(int(width * _GRID) // 2, 1)
    window = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(values, half, mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")
