"""UCF101: the official lists (CRLF ends, labels from 1, test lists without labels).

The class is the folder of a row, never the file name: `HandstandPushups/v_HandStandPushups_g01_c01.avi`.
Clips of one group (`_g01_`) are cut from one source video.
"""

from __future__ import annotations

import re
from pathlib import Path

from shards.annotations.base import Annotations, Clip, make_annotations
from shards.annotations.config import DatasetConfig
from shards.annotations.lines import parse_lines, stem, videos_folder, whole_number
from shards.errors import UserError

OPTIONS = ("split",)
_VIDEO = re.compile(r"([^/]+)/(v_.+_(g\d{2})_c\d{2})\.avi")


def parse_class(text: str) -> tuple[int, str]:
    """Parse a row of classInd.txt into (label from 1, name).

    >>> parse_class("1 ApplyEyeMakeup")
    (1, 'ApplyEyeMakeup')
    """
    number, _, name = text.partition(" ")
    if not name:
        raise ValueError("a label and a name are needed")
    return whole_number(number), name


def parse_video(text: str, labels: dict[str, int]) -> tuple[str, int, str]:
    """Parse `<class>/<file>.avi` with or without a label from 1 into (path, label from 0, source video).

    Raises ValueError for an unknown class and for a label that contradicts the folder.
    """
    path, _, given = text.partition(" ")
    match = _VIDEO.fullmatch(path)
    if match is None or match[1] not in labels:
        raise ValueError("the folder is none of the classes" if match else "not <class>/v_<name>_gNN_cNN.avi")
    label = labels[match[1]]
    if given and whole_number(given.strip()) != label + 1:
        raise ValueError(f"label {given.strip()} is not {match[1]}'s label {label + 1}")
    return path, label, f"{match[1]}_{match[3]}"


def files(cfg: DatasetConfig) -> list[Path]:
    """List the class index and the lists of the split."""
    names = ("classInd.txt", f"trainlist0{cfg.split}.txt", f"testlist0{cfg.split}.txt")
    return [Path(cfg.root) / name for name in names]


def read(cfg: DatasetConfig) -> Annotations:
    """Read UCF101; `cfg.split` 1 (default), 2 or 3 chooses trainlist0N.txt and testlist0N.txt under `cfg.root`."""
    split, root = cfg.split, Path(cfg.root)
    index = parse_lines(root / "classInd.txt", parse_class, "`<label from 1> <class name>`")
    if sorted(number for number, _ in index) != list(range(1, len(index) + 1)):
        raise UserError(f"{root / 'classInd.txt'}: class labels are not 1..{len(index)} once each; get the file again")
    classes = [name for _, name in sorted(index)]
    labels = {name: label for label, name in enumerate(classes)}
    clips = []
    videos = videos_folder(cfg)
    for role in ("train", "test"):
        rows = parse_lines(
            root / f"{role}list0{split}.txt",
            lambda text: parse_video(text, labels),
            "`<class>/<file>.avi`, in training lists followed by the label from 1",
        )
        clips += [
            Clip(name=stem(path), path=f"{videos}/{path}", label=label, role=role, source=source)
            for path, label, source in rows
        ]
    return make_annotations(clips, classes, "ucf101", f"split{split}")
