"""FineDiving: the official pickles (through the restricted reader) and the JSON `spot` form; same tables from both.

Task `action`: a clip is a dive, the class its dive number (52, sorted). Task `subaction`: a clip is one step of a dive,
the class the step's name (29 occur, sorted). Frames lie in folders `<videos>/<video>/<instance>/` with one image a
frame of the dive; times count frames at `cfg.frame_rate`. Video names are strings: `'01'` is not `1`.

Steps: both forms give the last frame of each step but the last, counted from the start of the dive. Four dives of the
JSON form lack events; their steps are unknown, so they have no phases and no step clips, but stay in task `action`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from shards.annotations.base import Annotations, Clip, make_annotations
from shards.annotations.config import DatasetConfig
from shards.annotations.lines import Raw, parse_records, read_json, videos_folder
from shards.annotations.phases import phase_table
from shards.annotations.restricted_pickle import load_restricted
from shards.errors import UserError

OPTIONS = ("task", "subset")
COARSE = "FineDiving_coarse_annotation.pkl"
FINE = "FineDiving_fine-grained_annotation.pkl"
WRONG_FORM = (KeyError, TypeError, IndexError, AttributeError, OverflowError)
"""What taking a record apart raises where one of its values is of another kind."""
_SPOT_PARTS = {"train": "train", "val": "train", "test": "test"}  # val is cut from the official training split


@dataclass(frozen=True, kw_only=True, slots=True)
class Dive:
    """One dive: where it lies, its number, its length and its steps as (name, first frame, last frame)."""

    video: str
    instance: int
    action: str
    role: str
    n_frames: int
    steps: tuple[tuple[str, int, int], ...]

    @property
    def name(self) -> str:
        """Return the name of the clip."""
        return f"{self.video}__{self.instance}"


def steps_between(names: list[str], last_frames: list[int], n_frames: int) -> tuple[tuple[str, int, int], ...]:
    """Turn step names [n] and the last frames [n - 1] of all but the last step into (name, first, last) of each.

    Raises ValueError when the counts do not fit or the frames are not increasing inside the dive.
    """
    if len(names) != len(last_frames) + 1:
        raise ValueError(f"{len(names)} steps need {len(names) - 1} transitions, {len(last_frames)} are given")
    ends = [*last_frames, n_frames - 1]
    starts = [0, *(frame + 1 for frame in last_frames)]
    if any(start > end for start, end in zip(starts, ends, strict=True)):
        raise ValueError(f"transitions {last_frames} do not increase inside {n_frames} frames")
    return tuple(zip(names, starts, ends, strict=True))


def _chain(transitions: list[list[str]]) -> list[str]:
    """Turn [from, to] pairs into the names of all steps; empty when a pair does not begin where the one before ends."""
    if any(left[1] != right[0] for left, right in pairwise(transitions)):
        return []
    return [pair[0] for pair in transitions[:1]] + [pair[1] for pair in transitions]


def parse_spot(record: Raw, role: str) -> Dive:
    """Parse one record of the JSON form. Raises ValueError that says which field is missing or wrong."""
    try:
        video, instance = str(record["video"]).rsplit("__", 1)
        action, n_frames = str(record["_source_info"]["action_type"]).lower(), int(record["num_frames"])
        events = sorted((int(event["frame"]), str(event["comment"])) for event in record["events"])
        names = _chain([comment.split(" -> ") for _, comment in events])
        complete = bool(names) and len(events) == int(record["num_events"])
    except WRONG_FORM as error:
        raise ValueError(f"field {error} is missing or has the wrong form") from error
    steps = steps_between(names, [event[0] for event in events], n_frames) if complete else ()
    return Dive(video=video, instance=int(instance), action=action, role=role, n_frames=n_frames, steps=steps)


def read_spot(folder: Path) -> list[Dive]:
    """Read `{train,val,test}.json`."""
    dives: list[Dive] = []
    for part, role in _SPOT_PARTS.items():
        path = folder / f"{part}.json"
        rule = "records with video, num_frames, events and _source_info"
        dives += parse_records(path, read_json(path), partial(parse_spot, role=role), rule)
    return dives


def _steps_of_labels(frame_labels: list[int], names: dict[int, str]) -> tuple[tuple[str, int, int], ...]:
    """Group equal neighbours of the per-frame step ids [n_frames] into (name, first, last)."""
    cuts = [i for i in range(1, len(frame_labels)) if frame_labels[i] != frame_labels[i - 1]]
    starts, ends = [0, *cuts], [*(cut - 1 for cut in cuts), len(frame_labels) - 1]
    return tuple((names[frame_labels[start]], start, end) for start, end in zip(starts, ends, strict=True))


def parse_pickled(coarse: Raw, fine: Raw, role: str, key: Raw) -> Dive:
    """Join both annotations of one dive. The per-frame step ids are the truth about its steps."""
    try:
        video, instance = str(key[0]), int(key[1])
        about, detail = coarse[key], fine[key]
        n_frames = int(about["end_frame"]) - int(about["start_frame"]) + 1
        labels = [int(label) for label in detail["frames_labels"]]
        names = {int(step): str(name) for step, name in detail["sub-action-types"].items()}
        steps = _steps_of_labels(labels, names)
    except WRONG_FORM as error:
        raise ValueError(f"field {error} is missing or has the wrong form") from error
    if len(labels) != n_frames:
        raise ValueError(f"{len(labels)} frame labels for {n_frames} frames")
    action = str(about["action_type"]).lower()
    return Dive(video=video, instance=instance, action=action, role=role, n_frames=n_frames, steps=steps)


def read_pickles(folder: Path) -> list[Dive]:
    """Read the official pickles: both annotation files, `train_split.pkl` and `test_split.pkl`."""
    coarse, fine = load_restricted(folder / COARSE), load_restricted(folder / FINE)
    dives: list[Dive] = []
    for role in ("train", "test"):
        path = folder / f"{role}_split.pkl"
        rule, parse = "keys (video, instance) of both annotation files", partial(parse_pickled, coarse, fine, role)
        dives += parse_records(path, load_restricted(path), parse, rule, unit="entry")
    return dives


def files(cfg: DatasetConfig) -> list[Path]:
    """List the files of the form that lies under the root; of the pickles where there is none."""
    root = Path(cfg.root)
    for folder in () if (root / COARSE).exists() else (root, root / "spot"):
        if (folder / "train.json").exists():
            return [folder / f"{part}.json" for part in _SPOT_PARTS]
    return [root / name for name in (COARSE, FINE, "train_split.pkl", "test_split.pkl")]


def read_dives(root: Path) -> list[Dive]:
    """Read whichever form lies under `root`: the pickles, or the JSON files there or in `root/spot`."""
    if (root / COARSE).exists():
        return read_pickles(root)
    for folder in (root, root / "spot"):
        if (folder / "train.json").exists():
            return read_spot(folder)
    raise UserError(f"{root}: holds neither {COARSE} nor train.json (or spot/train.json); give the annotation folder")


def _subset(dives: list[Dive], subset: str) -> list[Dive]:
    """Keep all dives, those from the 10 m platform (said by the video's name), or those of one dive number."""
    if subset == "10m":
        return [dive for dive in dives if "10m" in dive.video]
    return [dive for dive in dives if subset in ("", dive.action)]


def _action_clips(dives: list[Dive], videos: str) -> tuple[list[str], list[Clip]]:
    classes = sorted({dive.action for dive in dives})
    label = {name: index for index, name in enumerate(classes)}
    return classes, [
        Clip(
            name=dive.name,
            path=f"{videos}/{dive.video}/{dive.instance}",
            label=label[dive.action],
            role=dive.role,
            source=dive.video,
        )
        for dive in dives
    ]


def _step_clips(dives: list[Dive], videos: str, frame_rate: float) -> tuple[list[str], list[Clip]]:
    classes = sorted({name for dive in dives for name, _, _ in dive.steps})
    label = {name: index for index, name in enumerate(classes)}
    clips = [
        Clip(
            name=f"{dive.name}__{index}",
            path=f"{videos}/{dive.video}/{dive.instance}",
            label=label[name],
            role=dive.role,
            source=dive.video,
            start=first / frame_rate,
            end=(last + 1) / frame_rate,
        )
        for dive in dives
        for index, (name, first, last) in enumerate(dive.steps)
    ]
    return classes, clips


def read(cfg: DatasetConfig) -> Annotations:
    """Read FineDiving; `cfg.task` action (default) or subaction; `cfg.subset`: 10m or one dive number such as 5253b."""
    task, subset = cfg.task or "action", cfg.subset.lower()
    if task not in ("action", "subaction"):
        raise UserError(f"data.task={task}: FineDiving has action and subaction; choose one of them")
    dives = _subset(read_dives(Path(cfg.root)), subset)
    if not dives:
        raise UserError(f"data.subset={cfg.subset}: no dive is left; give 10m, a dive number such as 5253b, or nothing")
    if task == "action":
        classes, clips = _action_clips(dives, videos_folder(cfg))
    else:
        classes, clips = _step_clips(dives, videos_folder(cfg), cfg.frame_rate)
    return make_annotations(clips, classes, "finediving" + (f"-{subset}" if subset else ""), task)


def read_phases(cfg: DatasetConfig) -> pa.Table:
    """Return the step of every frame of every dive whose steps are known: the truth of the phase and alignment studies.

    Columns key (of task `action`) and phases (list<int32>, one a frame: index into the `names` of the schema metadata).
    """
    dives = [dive for dive in _subset(read_dives(Path(cfg.root)), cfg.subset.lower()) if dive.steps]
    names = sorted({name for dive in dives for name, _, _ in dive.steps})
    label = {name: index for index, name in enumerate(names)}
    rows = [
        (dive.name, [label[name] for name, first, last in dive.steps for _ in range(first, last + 1)]) for dive in dives
    ]
    return phase_table(rows, names)
