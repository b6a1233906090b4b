"""HMDB51: one list a class and split, rows `<file>.avi <0|1|2> ` with a trailing blank.

1 = training, 2 = test, 0 = not used in this split; `data.subset: with-unused` puts the last into the training pool,
as the published semi-supervised lists do. File names hold `!#&()+;@[]~`: they are compared, never given to a shell.
"""

from __future__ import annotations

from pathlib import Path

from shards.annotations.base import Annotations, Clip, make_annotations
from shards.annotations.config import DatasetConfig
from shards.annotations.lines import parse_lines, split_last, stem, videos_folder
from shards.errors import UserError

OPTIONS = ("split", "subset")
N_CLASSES = 51
WITH_UNUSED = "with-unused"
_ROLES = {"1": "train", "2": "test", "0": "unused"}


def parse_row(text: str) -> tuple[str, str]:
    """Parse `<file>.avi <digit>` into (file, train | test | unused)."""
    name, digit = split_last(text)
    if digit not in _ROLES or not name.endswith(".avi") or "/" in name:
        raise ValueError("a file name ending in .avi and 0, 1 or 2 are needed")
    return name, _ROLES[digit]


def source_of(name: str, action: str) -> str:
    """Return the source film of a clip: the file name before `_<class>_`.

    >>> source_of("TrumanShow_wave_f_nm_np1_fr_med_26.avi", "wave")
    'TrumanShow'
    """
    return stem(name).rsplit(f"_{action}_", 1)[0]


def files(cfg: DatasetConfig) -> list[Path]:
    """List the class lists of the split that are there; a pattern where there is none."""
    pattern = f"*{_ending(cfg.split)}"
    return sorted(Path(cfg.root).glob(pattern)) or [Path(cfg.root) / pattern]


def _ending(split: int) -> str:
    return f"_test_split{split}.txt"


def class_lists(root: Path, split: int) -> dict[str, Path]:
    """Return class name -> list file, sorted by class. Raises UserError unless there are exactly 51."""
    ending = _ending(split)
    if not root.is_dir():
        raise UserError(f"{root}: is not a folder; give the folder that holds the files <class>{ending}")
    lists = {path.name.removesuffix(ending): path for path in root.iterdir() if path.name.endswith(ending)}
    if len(lists) != N_CLASSES:
        raise UserError(
            f"{root}: holds {len(lists)} files <class>{ending}, {N_CLASSES} expected; unpack the lists again"
        )
    return dict(sorted(lists.items()))


def read(cfg: DatasetConfig) -> Annotations:
    """Read HMDB51; `cfg.split` 1 (default), 2 or 3; `cfg.subset` empty or with-unused."""
    if cfg.subset not in ("", WITH_UNUSED):
        raise UserError(f"data.subset={cfg.subset}: HMDB51 knows only {WITH_UNUSED}; give that or nothing")
    split = cfg.split
    clips = []
    videos = videos_folder(cfg)
    lists = class_lists(Path(cfg.root), split)
    for label, (action, path) in enumerate(lists.items()):
        for name, role in parse_lines(path, parse_row, "`<file>.avi <0|1|2>`"):
            if role == "unused" and not cfg.subset:
                continue
            clips.append(
                Clip(
                    name=stem(name),
                    path=f"{videos}/{action}/{name}",
                    label=label,
                    role="train" if role == "unused" else role,
                    source=source_of(name, action),
                )
            )
    return make_annotations(clips, list(lists), "hmdb51", f"split{split}" + ("+unused" if cfg.subset else ""))
