"""What was named on a command line, as clips: files, folders of them, lists, URLs, tars, folders of frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from shards.annotations.csv import read_clips_alone
from shards.annotations.list_lines import is_video_name
from shards.errors import UserError
from shards.files import walked
from shards.sources.frames import CODECS
from shards.storage.remote import is_url
from shards.write.plans import PlannedClip

LISTS = (".csv", ".tsv", ".txt")
"""Endings of files that are read as lists of videos."""


def clips_of(given: Sequence[str | Path]) -> list[PlannedClip]:
    """List the clips that are meant, each once, in the order given; the key of a clip is its number.

    A list is one path a line, relative to it, with class, start and end where there are more columns. A path that leads
    nowhere is a clip like others: it fails when it is opened. UserError for a folder without a video, or a bad list.
    """
    found = [clip for text in given for clip in _named(str(text))]
    once = list(dict.fromkeys(found))
    width = len(str(len(once)))
    return [PlannedClip(key=f"{i:0{width}d}", path=p, start=s, end=e) for i, (p, s, e) in enumerate(once)]


Named = tuple[str, float | None, float | None]
"""A path and the seconds where the clip starts and ends."""


def _named(text: str) -> Iterator[Named]:
    path = Path(text).expanduser()
    if is_url(text):
        yield text, None, None
    elif path.suffix.lower() in LISTS and path.is_file():
        yield from ((clip.path, clip.start, clip.end) for clip in read_clips_alone(path.absolute()))
    elif path.is_dir():
        clips = list(_below(path.absolute()))
        if not clips:
            raise UserError(f"predict: {text}: no video and no folder of images in it; name videos, or a list of them")
        yield from ((str(clip), None, None) for clip in clips)
    else:
        yield str(path.absolute()), None, None


def _below(folder: Path) -> Iterator[Path]:
    """Walk through a folder: its videos; a folder that holds images and no video is a clip of frames."""
    for place, folders, names in walked(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = sorted(name for name in names if not name.startswith("."))
        videos = [name for name in shown if is_video_name(name)]
        yield from (Path(place, name) for name in videos)
        if not videos and _images(shown):
            yield Path(place)


def _images(names: Iterable[str]) -> bool:
    return any(name.rpartition(".")[2].lower() in CODECS for name in names)
