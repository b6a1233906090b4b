"""Penn Action with phase labels: 13 actions, frame folders, one array of phases a video.

`cfg.root/{train,val}/<action>/<id>*.npy` holds the phase of every frame (int [n_frames], below 0 = none) and says role
and action; `cfg.videos/<id>/000001.jpg ..` holds the frames. Actions without phase labels (strum_guitar, jump_rope) do
not occur. Each video is its own source.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from shards.annotations.base import Annotations, Clip, make_annotations
from shards.annotations.config import DatasetConfig
from shards.annotations.lines import refuse_rows, videos_folder
from shards.annotations.phases import phase_table
from shards.errors import UserError

PHASES = {
    "baseball_pitch": 4,
    "baseball_swing": 3,
    "bench_press": 2,
    "bowl": 3,
    "clean_and_jerk": 6,
    "golf_swing": 3,
    "jumping_jacks": 4,
    "pushup": 2,
    "pullup": 2,
    "situp": 2,
    "squat": 4,
    "tennis_forehand": 3,
    "tennis_serve": 4,
}
"""Action -> number of phases; label = position here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """One labelled video: four-digit id, action, role and the phase of every frame [n_frames]."""

    name: str
    action: str
    role: str
    phases: list[int]


def read_phase_file(path: Path, action: str, role: str) -> Video:
    """Read one array of phases. Raises ValueError when it is not a line of phase numbers of this action."""
    try:
        phases = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"cannot be read: {error}") from error
    if phases.ndim != 1 or phases.dtype.kind not in "iu" or not len(phases):
        raise ValueError(f"is not a line of whole numbers but {phases.dtype} {phases.shape}")
    if phases.max() >= PHASES[action]:
        raise ValueError(f"phase {phases.max()}, {action} has {PHASES[action]}")
    if not path.name[:4].isdigit():
        raise ValueError("the file name does not begin with a four-digit video id")
    return Video(name=path.name[:4], action=action, role=role, phases=[max(-1, int(phase)) for phase in phases])


def files(cfg: DatasetConfig) -> list[Path]:
    """List the phase files that are there; a pattern where there is none."""
    return [path for _, path in _phase_files(Path(cfg.root))] or [Path(cfg.root) / "train" / "*" / "*.npy"]


def _phase_files(root: Path) -> list[tuple[str, Path]]:
    """Give (role, path) of every phase file."""
    parts = (("train", "train"), ("val", "test"))
    return sorted((role, path) for part, role in parts for path in (root / part).glob("*/*.npy"))


def read_videos(root: Path) -> list[Video]:
    """Read every phase file under `root`. Raises UserError on unknown actions, bad files, or when there is none."""
    videos: list[Video] = []
    bad: list[str] = []
    found = _phase_files(root)
    for role, path in found:
        action = path.parent.name
        if action not in PHASES:
            raise UserError(f"{path.parent}: is none of the 13 actions with phases ({', '.join(PHASES)}); move it away")
        try:
            videos.append(read_phase_file(path, action, role))
        except ValueError as error:
            bad.append(f"{path.parent.name}/{path.name} ({error})")
    if bad:
        refuse_rows(root, bad, len(found), "one int array [n_frames] a video")
    if not videos:
        raise UserError(
            f"{root}: holds no train/<action>/<id>.npy or val/<action>/<id>.npy; give the phase label folder"
        )
    return videos


def read(cfg: DatasetConfig) -> Annotations:
    """Read Penn Action; `cfg.root` = phase label folder, `cfg.videos` = folder of frame folders."""
    label = {action: index for index, action in enumerate(PHASES)}
    videos = videos_folder(cfg, "frames")
    clips = [
        Clip(
            name=video.name,
            path=f"{videos}/{video.name}",
            label=label[video.action],
            role=video.role,
            source=video.name,
        )
        for video in read_videos(Path(cfg.root))
    ]
    return make_annotations(clips, list(PHASES), "penn_action", "phases")


def read_phases(cfg: DatasetConfig) -> pa.Table:
    """Return the phase of every frame: columns key, phases (list<int32>, -1 = none), numbered within each action."""
    return phase_table([(video.name, video.phases) for video in read_videos(Path(cfg.root))], [])
