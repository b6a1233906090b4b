"""Diving48 V2: two JSON lists of trimmed dives and a vocabulary of 48 classes, 47 of which occur.

Files in `root`: Diving48_V2_train.json, Diving48_V2_test.json (lists of {"vid_name", "label", ...}) and
Diving48_vocab.json (48 lists [take-off, somersaults, twists, position], index = label). A clip is a whole file,
`<videos>/<vid_name>.mp4`; `vid_name` is `<YouTube id>_<5 digits>` and may begin with `-`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from shards.annotations.base import Annotations, Clip, absolute, make_annotations
from shards.annotations.config import DatasetConfig
from shards.errors import UserError

COUNTS = {"train": 15027, "test": 1970}
"""Rows of the V2 lists. The V1 lists, with many wrong labels, have others."""
_N_CLASSES = 48
_NAME = re.compile(r"([A-Za-z0-9_-]{11})_\d{5}")
_SOURCE = "http://www.svcl.ucsd.edu/projects/resound/dataset.html"
_VIDEOS = "rgb"
_VOCABULARY = "Diving48_vocab.json"


def files(cfg: DatasetConfig) -> list[Path]:
    """List the vocabulary and the V2 lists."""
    root = Path(cfg.root).expanduser()
    return [root / _VOCABULARY, *(root / f"Diving48_V2_{split}.json" for split in COUNTS)]


def read(cfg: DatasetConfig) -> Annotations:
    """Read the V2 lists. Raises UserError for V1 lists (named so), missing files and rows that cannot be right."""
    root = Path(cfg.root).expanduser()
    _refuse_v1_folder(root)
    classes = _read_classes(root / _VOCABULARY)
    videos = cfg.videos or absolute(root, _VIDEOS)
    clips = [clip for split in COUNTS for clip in _read_split(root / f"Diving48_V2_{split}.json", split, videos)]
    return make_annotations(clips, classes, cfg.name, "V2")


def _refuse_v1_folder(root: Path) -> None:
    for split in COUNTS:
        old = root / f"Diving48_{split}.json"
        if old.exists() and not (root / f"Diving48_V2_{split}.json").exists():
            raise UserError(
                f"{old} is Diving48 V1, whose labels are partly wrong; "
                f"put Diving48_V2_{split}.json from {_SOURCE} into {root}"
            )


def _read_json(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; set data.root to the folder of the lists from {_SOURCE}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); fetch it again from {_SOURCE}") from error
    if not isinstance(content, list):
        raise UserError(f"{path} holds no JSON list; fetch it again from {_SOURCE}")
    return content


def _read_classes(path: Path) -> list[str]:
    """Class names such as `Back+15som+05Twis+FREE`."""
    names = _read_json(path)
    good = all(isinstance(parts, list) and all(isinstance(part, str) for part in parts) for parts in names)
    if len(names) != _N_CLASSES or not good:
        raise UserError(f"{path} must hold {_N_CLASSES} lists of words; fetch it again from {_SOURCE}")
    return ["+".join(parts) for parts in names]


def _read_split(path: Path, split: str, videos: str) -> list[Clip]:
    rows = _read_json(path)
    if len(rows) != COUNTS[split]:
        raise UserError(
            f"{path} has {len(rows)} rows; Diving48 V2 has {COUNTS[split]} in {split}, so this is V1 or an incomplete "
            f"file; fetch Diving48_V2_{split}.json from {_SOURCE}"
        )
    bad = [f"row {number}: {row}" for number, row in enumerate(rows) if not _is_row(row)]
    if bad:
        raise UserError(f"{path}: {len(bad)} bad rows, first: {'; '.join(bad[:3])}; fetch it again from {_SOURCE}")
    return [_clip(row["vid_name"], row["label"], split, videos) for row in rows]


def _is_row(row: object) -> bool:
    if not isinstance(row, dict):
        return False
    name, label = row.get("vid_name"), row.get("label")
    in_range = isinstance(label, int) and not isinstance(label, bool) and 0 <= label < _N_CLASSES
    return isinstance(name, str) and bool(_NAME.fullmatch(name)) and in_range


def _clip(name: str, label: int, split: str, videos: str) -> Clip:
    """A dive; all dives of one YouTube video share their source."""
    return Clip(name=name, path=absolute(videos, f"{name}.mp4"), label=label, role=split, source=name[:11])
