"""Every reader names the files it reads: exactly those that the operating system sees it open."""

import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from shards.annotations import DATASETS, annotation_files, load
from shards.annotations.config import DatasetConfig
from shards.annotations.published_lists import list_files, read_published
from shards.errors import UserError

from .real import DATA, needs_data, write
from .test_finediving import _pickles
from .test_finegym import _one
from .test_hmdb51 import _folder as hmdb51
from .test_kinetics400 import NAMES, OTHER
from .test_penn_action import _save
from .test_ssv2 import _mini
from .test_ucf101 import _folder as ucf101

_watched: list[str] = []
_watching = False


def _hook(event, arguments):
    if _watching and event == "open" and isinstance(arguments[0], (str, Path)):
        _watched.append(str(arguments[0]))


sys.addaudithook(_hook)


@contextmanager
def opened(root):
    """Give the set of the files below `root` that the block opens."""
    global _watching  # noqa: PLW0603 - an audit hook cannot be taken away again
    _watched.clear()
    seen: set[Path] = set()
    _watching = True
    try:
        yield seen
    finally:
        _watching = False
        seen |= {Path(name) for name in _watched if Path(name).is_relative_to(root) and Path(name).is_file()}


def csv(folder):
    for role in ("labelled", "test"):
        write(folder / role / "list.txt", f"{role}.mp4 1\n")
    write(folder / "classes.txt", "a\nb\n")
    lists = {role: f"{role}/list.txt" for role in ("labelled", "test")}
    return DatasetConfig(name="csv", root=str(folder), lists=lists, classes="classes.txt")


def finegym(folder):
    return DatasetConfig(name="finegym", root=str(_one(folder)))


def kinetics400(folder):
    write(folder / "label_map_k400.txt", "".join(f"{name}\n" for name in NAMES))
    write(folder / "categories.txt", "".join(f"{name}\t{i}\n" for i, name in enumerate(OTHER)))
    write(folder / "train.csv", f"/d/class_007/AAAAAAAAAAA_000001_000011.mp4 {NAMES.index('class 007')}\n")
    write(folder / "mine.csv", f"0wR5jVB-WPk.mp4,{OTHER.index('abseiling')}\n")
    return DatasetConfig(name="kinetics400", root=str(folder), lists={"test": "mine.csv"})


def penn_action(folder):
    _save(folder, "train", "bowl", "0417", [0, 1])
    _save(folder, "val", "squat", "1720", [0, 1, 2])
    return DatasetConfig(name="penn_action", root=str(folder))


MADE = {
    "csv": csv,
    "finediving": _pickles,
    "finegym": finegym,
    "hmdb51": lambda folder: DatasetConfig(name="hmdb51", root=hmdb51(folder, 51), split=2),
    "kinetics400": kinetics400,
    "penn_action": penn_action,
    "ssv2": lambda folder: _mini(folder, 87),
    "ucf101": ucf101,
}


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_reader_opens_the_files_it_names_and_no_others(name, tmp_path):
    cfg = MADE[name](tmp_path)
    write(tmp_path / "README.md", "nobody reads this")
    with opened(tmp_path) as read:
        load(cfg)
    assert read == set(annotation_files(cfg))
    assert read


@needs_data
@pytest.mark.parametrize(
    ("name", "folder", "options"),
    [
        ("diving48", "diving48", {}),
        ("finediving", "finediving", {"task": "subaction"}),
        ("finegym", "finegym", {"subset": "Gym_new", "version": "v1.0"}),
        ("ucf101", "ucf101", {"split": 3}),
    ],
)
def test_the_same_for_the_official_files(name, folder, options):
    cfg = DatasetConfig(name=name, root=str(DATA / folder), **options)
    with opened(DATA) as read:
        load(cfg)
    assert read == set(annotation_files(cfg))


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"synthetic_diving", "csv"}))
def test_files_that_are_not_there_are_named_all_the_same(name, tmp_path):
    missing = annotation_files(DatasetConfig(name=name, root=str(tmp_path / "gone")))
    assert missing
    assert not any(path.exists() for path in missing)


def test_published_lists_name_the_files_that_count(tmp_path):
    for name in ("train.csv", "labelled.csv", "unlabe.csv", "val.txt"):
        write(tmp_path / name, f"{name}.mp4 1\n")
    with opened(tmp_path) as read:
        read_published(tmp_path)
    assert read == set(list_files(tmp_path)) == {tmp_path / name for name in ("train.csv", "unlabe.csv", "val.txt")}
    assert list_files(tmp_path / "gone") == []


def test_another_data_set_is_refused_by_name():
    with pytest.raises(UserError, match=r"name = imagenet: must be one of csv, diving48"):
        annotation_files(DatasetConfig(name="imagenet"))
