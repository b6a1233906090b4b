"""Something-Something V2: the official JSON files (174 classes), and the two-list form with a category file.

Official: `labels.json` maps class names to labels as *strings*; a record's class is its `template` without brackets.
List form (Mini-Something-V2 with 87 classes is published so): `category*.txt`, `train_videofolder.txt` and
`val_videofolder.txt` with rows `<id> <frames> <label>`. The frame counts belong to somebody's extracted frames and are
not used: true counts come from decoding. Each video is its own source.
"""

from __future__ import annotations

from pathlib import Path

from shards.annotations.base import Annotations, Clip, make_annotations
from shards.annotations.config import DatasetConfig
from shards.annotations.lines import (
    Raw,
    parse_lines,
    parse_records,
    read_json,
    read_names,
    videos_folder,
    whole_number,
)
from shards.errors import UserError

OPTIONS = ("version",)
PREFIX = "something-something-v2-"
VERSIONS = {"v2": 174, "mini": 87}


def class_of(template: str) -> str:
    """Return the class name of a template.

    >>> class_of("Showing [something] on top of [something]")
    'Showing something on top of something'
    """
    return template.replace("[", "").replace("]", "")


def read_labels(path: Path) -> list[str]:
    """Read labels.json into class names, index = label. Raises UserError unless labels are 0, 1, 2, .. once each."""
    raw = read_json(path)
    try:
        by_label = {int(label): name for name, label in raw.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f'{path}: expected {{"<class>": "<label>", ..}} with whole numbers as labels ({error})'
        ) from error
    if sorted(by_label) != list(range(len(raw))):
        raise UserError(f"{path}: labels are not 0..{len(raw) - 1} once each; get the file again")
    return [by_label[label] for label in sorted(by_label)]


def parse_record(record: Raw, labels: dict[str, int]) -> tuple[str, int]:
    """Parse one official record into (video id, label)."""
    if not isinstance(record, dict) or not {"id", "template"} <= record.keys():
        raise ValueError("`id` and `template` are needed")
    name = class_of(str(record["template"]))
    if name not in labels:
        raise ValueError(f"class {name!r} is not in labels.json")
    return str(whole_number(str(record["id"]))), labels[name]


def parse_list_row(text: str, n_classes: int) -> tuple[str, int]:
    """Parse `<id> <frames> <label>` into (video id, label)."""
    fields = text.split()
    if len(fields) != 3:
        raise ValueError("three fields are needed")
    whole_number(fields[1])
    return str(whole_number(fields[0])), whole_number(fields[2], n_classes)


def _read_official(root: Path) -> tuple[list[str], dict[str, list[tuple[str, int]]]]:
    classes = read_labels(root / f"{PREFIX}labels.json")
    labels = {name: label for label, name in enumerate(classes)}
    rows = {}
    for role, part in (("train", "train"), ("test", "validation")):
        path = root / f"{PREFIX}{part}.json"
        rule = "records with id and template"
        rows[role] = parse_records(path, read_json(path), lambda r: parse_record(r, labels), rule)
    return classes, rows


def _read_lists(root: Path) -> tuple[list[str], dict[str, list[tuple[str, int]]]]:
    categories = _categories(root)
    if len(categories) != 1:
        raise UserError(
            f"{root}: holds {len(categories)} files category*.txt, exactly one expected (a class name a line)"
        )
    classes = [class_of(name) for name in read_names(categories[0])]
    rows = {
        role: parse_lines(
            root / f"{part}_videofolder.txt", lambda text: parse_list_row(text, len(classes)), "`<id> <frames> <label>`"
        )
        for role, part in (("train", "train"), ("test", "val"))
    }
    return classes, rows


def files(cfg: DatasetConfig) -> list[Path]:
    """List the files of the version."""
    root = Path(cfg.root)
    if cfg.version == "mini":
        return [
            *(_categories(root) or [root / "category*.txt"]),
            *(root / f"{part}_videofolder.txt" for part in ("train", "val")),
        ]
    return [root / f"{PREFIX}{part}.json" for part in ("labels", "train", "validation")]


def _categories(root: Path) -> list[Path]:
    return sorted(root.glob("category*.txt"))


def read(cfg: DatasetConfig) -> Annotations:
    """Read Something-Something V2; `cfg.version` v2 (official JSON, default) or mini (list form, 87 classes)."""
    version = cfg.version or "v2"
    if version not in VERSIONS:
        raise UserError(f"data.version={version}: Something-Something has v2 and mini here; choose one of them")
    classes, rows = (_read_official if version == "v2" else _read_lists)(Path(cfg.root))
    if len(classes) != VERSIONS[version]:
        raise UserError(
            f"{cfg.root}: {len(classes)} classes, {version} has {VERSIONS[version]}; is data.version right?"
        )
    videos = videos_folder(cfg)
    clips = [
        Clip(name=video, path=f"{videos}/{video}.webm", label=label, role=role, source=video)
        for role, part in rows.items()
        for video, label in part
    ]
    return make_annotations(clips, classes, "ssv2", version)
