"""Kinetics-400: the official CSV, `path label` lists (SlowFast, TimeSformer, SVFormer) and `file,label` lists.

Two numberings of the 400 classes are about: alphabetical, and the one of UniFormer's files (`riding a bike` = 0). A
list read with the wrong one trains at chance. So labels leave here in one numbering only, the alphabetical one, and
each list's own numbering is proved: by the class folder of a row, by the name in a CSV, or by known videos of the
validation list. A list that contradicts every label map is refused, and so is one that proves none of several.

Videos that have vanished
from the web stay in the table: `finepseudo check` lists them, shard writing quarantines them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shards.annotations.base import Annotations, Clip, make_annotations
from shards.annotations.config import DatasetConfig
from shards.annotations.lines import (
    BadRowsError,
    base_name,
    numbered_lines,
    parse_rows,
    read_names,
    split_last,
    stem,
    videos_folder,
    whole_number,
)
from shards.errors import UserError

N_CLASSES = 400
KNOWN_VIDEOS = {
    "0wR5jVB-WPk": "abseiling",
    "--AbCB6WSN0": "bending back",
    "-3GJ6WdOrOw": "bungee jumping",
    "-8JbMlvZOxs": "cleaning floor",
    "6OiW_58NNZI": "curling hair",
    "06A7IVDdaXo": "drinking",
    "-9V1qe3Lk2M": "exercising with an exercise ball",
    "--kbTDDIiP0": "giving or receiving award",
    "-zA6BKg9ni4": "hurdling",
    "-d_UnNREYO4": "laughing",
    "-D6-UmndVJk": "moving furniture",
    "0zTKKv_g0CY": "playing basketball",
    "-0ML-FXomBw": "playing paintball",
    "-3pjDfx73Aw": "push up",
    "-1xDshoKGiw": "roller skating",
    "-FsB_A4A1Ks": "shredding paper",
    "-1fippPF1oI": "sniffing",
    "0hVtX45KhS8": "swimming breast stroke",
    "-7Cd7uCCE3g": "tobogganing",
    "0_T8Jz14vuA": "washing feet",
}
"""Validation video -> class: proves the numbering of lists that name no class; one video of every twentieth class."""

_STEM = re.compile(r"(.{11})(?:_(\d{6})_(\d{6}))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of any list: the video, its file name and its class name."""

    youtube_id: str
    file: str
    name: str


@dataclass(frozen=True, slots=True)
class LabelMap:
    """One numbering of the 400 classes: names [400], index = label."""

    file: Path
    names: tuple[str, ...]
    known: frozenset[str]

    def name(self, label: str) -> str:
        """Return the class of a label as it is written in a list. Raises ValueError when it is not 0..399."""
        return self.names[whole_number(label, N_CLASSES)]


def read_label_map(path: Path) -> LabelMap:
    """Read a numbering: one name a line (index = line), or `name<TAB>label` in any order.

    Raises UserError unless there are 400 different names with the labels 0..399.
    """
    lines = numbered_lines(path)
    if not any("\t" in text for _, text in lines):
        names = read_names(path, N_CLASSES)
        return LabelMap(path, tuple(names), frozenset(names))

    def parse(text: str) -> tuple[int, str]:
        name, _, label = text.partition("\t")
        return whole_number(label.strip(), N_CLASSES), name

    by_label = dict(parse_rows(path, lines, parse, "`name<TAB>label` with labels below 400"))
    if len(by_label) != N_CLASSES or len(set(by_label.values())) != N_CLASSES:
        raise UserError(f"{path}: {len(by_label)} labels for {len(set(by_label.values()))} names, 400 of each expected")
    names = [by_label[label] for label in range(N_CLASSES)]
    return LabelMap(path, tuple(names), frozenset(names))


def video_of(name: str) -> str:
    """Return the YouTube id of a file stem, with or without `_<start>_<end>`.

    >>> video_of("OELUl7M9SMw_000022_000032")
    'OELUl7M9SMw'
    """
    match = _STEM.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not <11-character id> or <id>_<start>_<end>")
    return match[1]


def parse_row(text: str, labels: LabelMap) -> Row:
    """Parse `<path> <label>` or `<path>,<label>`; a class folder in the path must agree with the label."""
    path, label = split_last(text)
    name = labels.name(label)
    folder = path.split("/")[-2].replace("_", " ") if "/" in path else ""
    video = video_of(stem(path))
    said = folder if folder in labels.known else KNOWN_VIDEOS.get(video, name)
    if said != name:
        raise ValueError(f"label {label} is {name!r} in {labels.file.name}, but this is {said!r}: another label order")
    return Row(youtube_id=video, file=base_name(path), name=name)


def parse_official(record: dict[str, str | None], labels: LabelMap) -> Row:
    """Parse a record of the official CSV; a `label_id` column must agree with the name."""
    name, video = record.get("label") or "", record.get("youtube_id") or ""
    if name not in labels.known:
        raise ValueError(f"class {name!r} is not in {labels.file.name}")
    given = record.get("label_id")
    if given and labels.name(given) != name:
        raise ValueError(f"label_id {given} is {labels.name(given)!r} in {labels.file.name}: another label order")
    start, end = (whole_number(record.get(key) or "") for key in ("time_start", "time_end"))
    return Row(youtube_id=video_of(video), file=f"{video}_{start:06d}_{end:06d}.mp4", name=name)


def read_list(path: Path, labels: LabelMap) -> list[Row]:
    """Read one list of any of the formats under one numbering. Raises UserError with the first bad rows."""
    lines = numbered_lines(path)
    if not lines or not lines[0][1].startswith("label,youtube_id"):
        return parse_rows(path, lines, lambda text: parse_row(text, labels), "`<path> <label>` or `<file>,<label>`")
    reader = csv.DictReader(text for _, text in lines)
    records = zip((number for number, _ in lines[1:]), reader, strict=True)
    return parse_rows(path, records, lambda record: parse_official(record, labels), "the official Kinetics CSV")


def read_in_its_order(path: Path, maps: Sequence[LabelMap]) -> list[Row]:
    """Read a list under the one numbering that it does not contradict.

    Raises UserError when every numbering is contradicted, and when several fit and mean different classes.
    """
    fitting: list[list[Row]] = []
    refusals: list[BadRowsError] = []
    for labels in maps:
        try:
            rows = read_list(path, labels)
        except BadRowsError as error:
            refusals.append(error)
        else:
            if rows not in fitting:
                fitting.append(rows)
    if len(fitting) > 1:
        files = ", ".join(labels.file.name for labels in maps)
        raise UserError(f"{path}: no row tells which label order it follows ({files}); name its map as data.classes")
    if not fitting:
        raise min(refusals, key=lambda error: error.count)
    return fitting[0]


def files(cfg: DatasetConfig) -> list[Path]:
    """List the label maps and both lists."""
    return [*_label_map_files(cfg), *(_list_file(cfg, role) for role in ("train", "test"))]


def _label_map_files(cfg: DatasetConfig) -> list[Path]:
    if cfg.classes:
        return [Path(cfg.root) / cfg.classes]
    return sorted(path for path in Path(cfg.root).glob("*.txt") if "label_map" in path.name or "categ" in path.name)


def _label_maps(cfg: DatasetConfig) -> list[LabelMap]:
    maps = [read_label_map(path) for path in _label_map_files(cfg)]
    if not maps:
        raise UserError(f"{cfg.root}: holds no label map; add label_map_k400.txt (400 class names, one a line)")
    return maps


def _list_file(cfg: DatasetConfig, role: str) -> Path:
    default = {"train": "train.csv", "test": "val.csv"}[role]
    return Path(cfg.root) / cfg.lists.get(role, default)


def read(cfg: DatasetConfig) -> Annotations:
    """Read Kinetics-400; every label in the table is the alphabetical one.

    `cfg.lists` names the train and test lists (default train.csv, val.csv), `cfg.classes` their label map. `cfg.videos`
    may hold `{split}` (train or val) and `{class}` (name with `_` for blanks); files lie below it by base name.
    """
    maps = _label_maps(cfg)
    classes = sorted(maps[0].names)
    label = {name: index for index, name in enumerate(classes)}
    clips: list[Clip] = []
    videos = videos_folder(cfg)
    for role, split in (("train", "train"), ("test", "val")):
        for row in read_in_its_order(_list_file(cfg, role), maps):
            folder = videos.replace("{split}", split).replace("{class}", row.name.replace(" ", "_"))
            path, name = f"{folder}/{row.file}", stem(row.file)
            clips.append(Clip(name=name, path=path, label=label[row.name], role=role, source=row.youtube_id))
    return make_annotations(clips, classes, "kinetics400", "alphabetical")
