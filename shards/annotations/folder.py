"""A folder of videos in a folder for each class; those in `unlabelled/` are the pool.

    videos/jump/a.mp4  videos/run/b.mp4  videos/unlabelled/c.mp4
    videos/train/jump/a.mp4  videos/test/jump/d.mp4  videos/unlabelled/c.mp4

The second form has a folder for each role above the classes. A folder of images is a clip, as in a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from shards.annotations.base import Annotations, Clip, make_annotations
from shards.annotations.config import DatasetConfig
from shards.annotations.lines import one_form
from shards.annotations.list_lines import is_video_name
from shards.annotations.roles import VAL, role_word, source_of
from shards.errors import UserError
from shards.files import walked
from shards.sources.frames import CODECS
from shards.types import NO_LABEL

_SHOWN = 3


def read(cfg: DatasetConfig) -> Annotations:
    """Read the folder `data.root` into a clip table. UserError where it holds no class with a video."""
    root = Path(cfg.root).expanduser().absolute()
    if not cfg.root or not root.is_dir():
        raise UserError(f"data.root: {cfg.root or '(empty)'} is no folder; give the folder of the videos")
    next(walked(root))
    by_role = _roles(root)
    found = [(role, name, path) for role, place in by_role for name, path in _clips(place, role)]
    classes = sorted({name for _, name, _ in found if name})
    if not classes:
        raise UserError(_no_class(root, sum(role == "unlabelled" for role, _, _ in found)))
    label = {name: index for index, name in enumerate(classes)}
    has_test = any(role == "test" for role, _, _ in found)
    clips = [_clip(root, path, label.get(name, NO_LABEL), role, has_test=has_test) for role, name, path in found]
    return replace(make_annotations(clips, classes, cfg.name, "1"), remarks=_remarks(root, found))


def _no_class(root: Path, pool: int) -> str:
    """Say what a folder without a class holds, and the two ways out."""
    loose = sum(is_video_name(path.name) for path in root.iterdir())
    seen = [f"{loose:,} videos beside no folder"] * bool(loose) + [f"{pool:,} in unlabelled/"] * bool(pool)
    return (
        f"{root}: no class is known: it holds {' and '.join(seen) or 'no video'}; either put the videos of each class "
        "into a folder of its own, named by the class, and those without one into unlabelled/; or name the classes in "
        "a list of lines path,class and give it: finepseudo init FOLDER --list LIST"
    )


def files(cfg: DatasetConfig) -> list[Path]:
    """Name the folder: it stands for the names in it."""
    return [Path(cfg.root).expanduser()]


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _roles(root: Path) -> list[tuple[str, Path]]:
    """Find the folders of roles, (train, root) for a folder of classes; what `unlabelled` holds has no class."""
    folders = _folders(root)
    words = {path: role_word(path.name) for path in folders}
    if folders and all(words.values()) and any(word != "unlabelled" for word in words.values()):
        return [(word, path) for path, word in words.items() if word]
    pools = [("unlabelled", path) for path, word in words.items() if word == "unlabelled"]
    return [("train", root), *pools]


def _clips(place: Path, role: str) -> Iterator[tuple[str, Path]]:
    """Give class and path of every clip; the pool has no classes, its folders only sort it."""
    if role == "unlabelled":
        yield from (("", path) for path in _below(place))
        return
    for folder in _folders(place):
        if role_word(folder.name) != "unlabelled":
            yield from ((one_form(folder.name), path) for path in _below(folder))


def _below(folder: Path) -> Iterator[Path]:
    """Walk to the videos and folders of images below a folder."""
    for place, folders, names in walked(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = sorted(name for name in names if not name.startswith("."))
        videos = [name for name in visible if is_video_name(name)]
        yield from (Path(place) / name for name in videos)
        if not videos and any(name.rpartition(".")[2].lower() in CODECS for name in visible):
            folders.clear()
            yield Path(place)


def _clip(root: Path, path: Path, label: int, role: str, *, has_test: bool) -> Clip:
    stem = path.stem if is_video_name(path.name) else path.name
    if role == VAL:
        role = "train" if has_test else "test"
    return Clip(
        name=stem, path=str(path), label=label, role=role, source=source_of(stem) or str(path.relative_to(root))
    )


def _remarks(root: Path, found: Sequence[tuple[str, str, Path]]) -> list[str]:
    single = sorted({name for _, name, _ in found if name and sum(name == other for _, other, _ in found) == 1})
    loose = [path.name for path in sorted(root.iterdir()) if is_video_name(path.name)]
    remarks = [f"classes of a single clip, is each one meant? {', '.join(single[:_SHOWN])}"] if single else []
    if loose:
        remarks.append(
            f"{len(loose):,} videos beside the folders are not used ({', '.join(loose[:_SHOWN])}); those without a "
            "class belong into unlabelled/"
        )
    return remarks
