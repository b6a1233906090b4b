"""What labelling tools export as JSON: Label Studio, CVAT (as Datumaro), FiftyOne. Their CSV exports are lists.

An item without a class is kept: it is a clip of the pool. Where a tool marks parts of a video by frame numbers, they
become seconds by the frame rate of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from shards.annotations.lines import Raw, base_name, read_json
from shards.errors import UserError

_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")  # Label Studio puts a hash before the name of an uploaded file
FrameRate = Callable[[str], float]
"""Path as the tool writes it -> frames a second of that file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A clip as a tool knows it: path as the tool writes it, class (empty: none), window in seconds."""

    path: str
    label: str = ""
    start: float | None = None
    end: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no path, no class or no part of a video: tools change their formats. Raises ValueError."""
        if not isinstance(self.path, str) or not self.path or "\0" in self.path or not isinstance(self.label, str):
            raise ValueError(f"path {self.path!r} and class {self.label!r} must be texts")
        if not 0 <= (self.start or 0.0) < (float("inf") if self.end is None else self.end) or self.end == float("inf"):
            raise ValueError(f"{self.path}: start {self.start} and end {self.end}: 0 <= start < end is the rule")


def read_export(path: Path, rate: FrameRate) -> list[Item]:
    """Read an export of one of the tools; UserError when it is none that is known here."""
    value = read_json(path)
    try:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            items = [item for task in value for item in _label_studio(task, rate)]
        elif isinstance(value, dict) and "items" in value and "categories" in value:
            items = list(_datumaro(value))
        elif isinstance(value, dict) and isinstance(value.get("labels"), dict):
            items = list(_fifty_one(value, rate))
        else:
            items = []
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(
            f"{path}: an item is not as expected ({type(error).__name__}: {error}); export it as CSV"
        ) from error
    if not items:
        raise UserError(
            f"{path}: no export of Label Studio, CVAT (Datumaro) or FiftyOne that holds a clip; export it as CSV"
        )
    return items


def file_name(path: str) -> str:
    """Give the file name behind what a tool writes: a path, a URL, an upload with a hash before the name.

    >>> file_name("/data/upload/1/0a1b2c3d-dive.mp4"), file_name("/data/local-files/?d=a/dive.mp4")
    ('dive.mp4', 'dive.mp4')
    """
    url = urlsplit(path)
    local = parse_qs(url.query).get("d", [""])[0]
    name = base_name(local or unquote(url.path))
    match = _UPLOADED.fullmatch(name)
    return match[1] if match and "/upload/" in path else name


def _label_studio(task: Mapping[str, Raw], rate: FrameRate) -> Iterator[Item]:
    """One task: choices for the whole video, ranges of a timeline; or the short form (JSON-MIN)."""
    data = task.get("data", task)
    path = data[next((key for key in ("video", "video_url", "url", "path") if key in data), "video")]
    if "data" not in task:
        yield from _short_form(path, task)
        return
    done = [a for a in task.get("annotations") or task.get("completions") or () if not a.get("was_cancelled")]
    found = [item for result in (done[0].get("result") or () if done else ()) for item in _result(path, result, rate)]
    yield from found or [Item(path=path)]


def _short_form(path: str, task: Mapping[str, Raw]) -> Iterator[Item]:
    choice = next((task[key] for key in ("choice", "label", "class") if task.get(key)), "")
    yield Item(path=path, label=choice if isinstance(choice, str) else str(choice["choices"][0]))


def _result(path: str, result: Mapping[str, Raw], rate: FrameRate) -> Iterator[Item]:
    value = result.get("value", {})
    if "choices" in value:
        yield Item(path=path, label=value["choices"][0])
    elif "timelinelabels" in value:
        for span in value.get("ranges", ()):  # frames from 1, both ends inside
            fps = rate(path)
            yield Item(
                path=path, label=value["timelinelabels"][0], start=(span["start"] - 1) / fps, end=span["end"] / fps
            )
    elif "labels" in value and "start" in value:
        yield Item(path=path, label=value["labels"][0], start=float(value["start"]), end=float(value["end"]))


def _datumaro(value: Mapping[str, Raw]) -> Iterator[Item]:
    """CVAT's tags, one class for each item."""
    names = [label["name"] for label in value["categories"]["label"]["labels"]]
    for item in value["items"]:
        tags = [a["label_id"] for a in item.get("annotations", ()) if a.get("type") == "label"]
        media = item.get("video") or item.get("media") or item.get("image") or {}
        yield Item(path=media.get("path") or item["id"], label=_named(names, tags[0]) if tags else "")


def _named(classes: Sequence[str], number: int) -> str:
    """Give the name of a class by its number; ValueError for -1, by which some tools mean none, and Python the last."""
    if isinstance(number, bool) or not 0 <= number < len(classes):
        raise ValueError(f"class {number} is none of the {len(classes)} classes")
    return classes[number]


def _fifty_one(value: Mapping[str, Raw], rate: FrameRate) -> Iterator[Item]:
    """A classification of each video, or temporal detections, by frame numbers (`support`) or seconds."""
    classes: Sequence[str] = value.get("classes") or ()

    def name(label: Raw) -> str:
        label = label.get("label") if isinstance(label, dict) else label
        return "" if label is None else _named(classes, label) if isinstance(label, int) else str(label)

    for path, label in value["labels"].items():
        if not isinstance(label, list):
            yield Item(path=path, label=name(label))
            continue
        for part in label:
            start, end = part.get("timestamps") or _seconds(part["support"], rate(path))
            yield Item(path=path, label=name(part), start=start, end=end)
        if not label:
            yield Item(path=path)


def _seconds(support: Sequence[int], fps: float) -> tuple[float, float]:
    """Frames from 1, both ends inside."""
    return (support[0] - 1) / fps, support[1] / fps
