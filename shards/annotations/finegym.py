"""FineGym: Gym99 and Gym288 (v1.0, v1.1), subsets of Gym99 (VT, FX, BB, UB, UB_S1, FX_S1) and of Gym288 (Gym_new).

List lines are `<element id> <label>`; an element id is
`<11-character video id>_E_<event start>_<event end>_A_<element start>_<element end>`: event times are seconds of the
full video, element times seconds of the event. The times are rounded down, so an element of less than a second has
equal ones. Rule: an element with end <= start lasts one second from its start, all others last from start to end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from shards.annotations.base import Annotations, Clip, make_annotations
from shards.annotations.config import DatasetConfig
from shards.annotations.lines import numbered_lines, parse_lines, parse_rows, videos_folder, whole_number
from shards.errors import UserError

OPTIONS = ("version", "subset", "cut_from")
SETS: dict[str, tuple[int, ...]] = {
    "VT": (1,),
    "FX": (21, 22, 23, 24, 25),
    "BB": (31, 32, 33, 34, 35),
    "UB": (41, 42, 43, 44),
    "UB_S1": (41,),
    "FX_S1": (21,),
}
"""Subset of Gym99 -> its set ids (apparatus or one set of it); labels are renumbered from 0."""

# Gym_new: label -> Gym288 label, as fixed by the published lists of that subset (every row of them agrees).
GYM_NEW = (
    *(106, 117, 107, 118, 108, 122, 109, 123, 208, 216, 209, 217, 211, 225, 212, 222, 213, 223, 234, 236),
    *(237, 244, 239, 243, 241, 246, 248, 250, 249, 251, 254, 255, 257, 259, 258, 260, 271, 272, 277, 278),
)

_ELEMENT = re.compile(r"(.{11})_E_(\d{6})_(\d{6})_A_(\d{4})_(\d{4})")
_CATEGORY = re.compile(r"Clabel:\s*(\d+); set:\s*(\d+); Glabel:\s*(\d+); (.+)")
_ROW_RULE = "`<element id> <label>`"


@dataclass(frozen=True, kw_only=True, slots=True)
class Element:
    """An element id taken apart; event times are seconds of the full video, element times seconds of the event."""

    video: str
    event_start: int
    event_end: int
    start: int
    end: int

    @property
    def event(self) -> str:
        """Return the id of the event, the usual file name of a cut event."""
        return f"{self.video}_E_{self.event_start:06d}_{self.event_end:06d}"

    def window(self, origin: int) -> tuple[float, float]:
        """Return (start, end) in seconds of a file that begins `origin` seconds before the event; never empty."""
        return float(origin + self.start), float(origin + max(self.end, self.start + 1))


def parse_element(name: str) -> Element:
    """Take an element id apart; ids may hold `_` and `-`, so the video id is the first 11 characters.

    >>> parse_element("A0xAXXysHUo_E_002184_002237_A_0035_0036").video
    'A0xAXXysHUo'
    """
    match = _ELEMENT.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not an element id <video id>_E_<6 digits>_<6 digits>_A_<4 digits>_<4 digits>")
    event_start, event_end, start, end = (int(field) for field in match.groups()[1:])
    return Element(video=match[1], event_start=event_start, event_end=event_end, start=start, end=end)


def read_categories(path: Path) -> list[tuple[int, str]]:
    """Read (set id, class name) of every class, index = label; names hold commas.

    Raises UserError when the labels in the file are not 0, 1, 2, .. in order.
    """

    def parse(row: tuple[int, str]) -> tuple[int, str]:
        index, text = row
        match = _CATEGORY.fullmatch(text)
        if match is None or int(match[1]) != index:
            raise ValueError(f"label {index} is due here")
        return int(match[2]), match[4]

    lines = numbered_lines(path)
    rows = [(number, (index, text)) for index, (number, text) in enumerate(lines)]
    return parse_rows(path, rows, parse, "`Clabel: <label>; set: <set>; Glabel: <label>; <name>` by label")


def _read_list(path: Path, n_classes: int) -> list[tuple[str, Element, int]]:
    def parse(text: str) -> tuple[str, Element, int]:
        name, _, label = text.partition(" ")
        return name, parse_element(name), whole_number(label.strip(), n_classes)

    return parse_lines(path, parse, _ROW_RULE)


def _renumbering(subset: str, categories: list[tuple[int, str]]) -> dict[int, int]:
    """Map labels of the whole data set to labels of the subset."""
    if subset in ("gym99", "gym288"):
        return {label: label for label in range(len(categories))}
    if subset == "Gym_new":
        return {label: index for index, label in enumerate(GYM_NEW)}
    kept = [label for label, (set_id, _) in enumerate(categories) if set_id in SETS[subset]]
    return {label: index for index, label in enumerate(kept)}


def _place(cut_from: str, name: str, element: Element) -> tuple[str, float | None, float | None]:
    """Return (file stem, start, end): what the files on disk are decides whether the element has to be cut out."""
    if cut_from == "event":
        return element.event, *element.window(0)
    if cut_from == "video":
        return element.video, *element.window(element.event_start)
    return name, None, None


def files(cfg: DatasetConfig) -> list[Path]:
    """List the categories and both element lists."""
    return [_categories(cfg), *_lists(cfg).values()]


def _base(cfg: DatasetConfig) -> str:
    return "gym288" if cfg.subset in ("gym288", "Gym_new") else "gym99"


def _categories(cfg: DatasetConfig) -> Path:
    return Path(cfg.root) / f"{_base(cfg)}_categories.txt"


def _lists(cfg: DatasetConfig) -> dict[str, Path]:
    """Give the list file of each role."""
    names = {"train": f"train_element_{cfg.version or 'v1.1'}", "test": "val_element"}
    return {role: Path(cfg.root) / f"{_base(cfg)}_{name}.txt" for role, name in names.items()}


def read(cfg: DatasetConfig) -> Annotations:
    """Read FineGym.

    `cfg.subset`: gym99 (default), gym288, VT, FX, BB, UB, UB_S1, FX_S1, Gym_new; `cfg.version`: v1.0 or v1.1 (default)
    of the training list; `cfg.cut_from`: element (files `<element id>.mp4`, default), event or video (elements are cut
    out of files `<event id>.mp4` or `<video id>.mp4`).
    """
    subset, version = cfg.subset or "gym99", cfg.version or "v1.1"
    if subset not in ("gym99", "gym288", "Gym_new", *SETS):
        raise UserError(
            f"data.subset={subset}: FineGym has gym99, gym288, Gym_new, {', '.join(SETS)}; choose one of them"
        )
    if version not in ("v1.0", "v1.1"):
        raise UserError(f"data.version={version}: FineGym's training lists are v1.0 and v1.1; choose one of them")
    categories = read_categories(_categories(cfg))
    labels = _renumbering(subset, categories)
    clips = []
    videos = videos_folder(cfg)
    for role, path in _lists(cfg).items():
        for name, element, label in _read_list(path, len(categories)):
            if label in labels:
                stem, start, end = _place(cfg.cut_from, name, element)
                clips.append(
                    Clip(
                        name=name,
                        path=f"{videos}/{stem}.mp4",
                        label=labels[label],
                        role=role,
                        source=element.video,
                        start=start,
                        end=end,
                    )
                )
    return make_annotations(clips, [categories[label][1] for label in labels], f"finegym-{subset}", version)
