"""Annotation files with one value that cannot be: each is read or refused in words, whatever stands in its place."""

import copy
import json
import pickle

import pytest

from shards.annotations import load
from shards.annotations.config import DatasetConfig
from shards.errors import UserError

from .real import write
from .test_finediving import _pickles, _record

BAD = [None, True, -1, 1e999, float("nan"), " ", "a\0b", [], {}, [None]]


def places(value, way=()):
    """Ways to every value inside a value, itself the first."""
    yield way
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, part in inside:
        yield from places(part, (*way, key))


def put(value, way, new):
    """The value with another one at the end of a way."""
    if not way:
        return new
    made = copy.copy(value) if isinstance(value, dict) else list(value)
    made[way[0]] = put(value[way[0]], way[1:], new)
    return made


def read_or_refused(cfg, folder):
    """Read a data set; what is read is sound."""
    try:
        found = load(cfg)
    except UserError:
        return
    rows = found.clips.to_pylist()
    assert rows
    assert all(-1 <= row["label"] < len(found.classes) for row in rows)
    assert all(isinstance(name, str) and name for name in found.classes)
    assert all(row["start"] is None or 0 <= row["start"] < row["end"] < float("inf") for row in rows)


def csv_of(folder):
    return DatasetConfig(name="csv", root=str(folder), lists={"all": str(folder / "list.json")})


LABEL_STUDIO = [
    {"id": 1, "data": {"video": "a.mp4"}, "annotations": [{"result": [{"value": {"choices": ["jump"]}}]}]},
    {"data": {"video": "b.mp4"}, "annotations": [{"result": [{"value": {"labels": ["run"], "start": 0.5, "end": 2}}]}]},
    {"video": "c.mp4", "choice": "jump", "id": 3},
]
DATUMARO = {
    "categories": {"label": {"labels": [{"name": "jump"}, {"name": "run"}]}},
    "items": [{"id": "a", "media": {"path": "a.mp4"}, "annotations": [{"type": "label", "label_id": 1}]}],
}
FIFTY_ONE = {"classes": ["jump", "run"], "labels": {"a.mp4": 1, "b.mp4": [{"label": 0, "timestamps": [3, 4]}]}}


@pytest.mark.parametrize("value", [LABEL_STUDIO, DATUMARO, FIFTY_ONE], ids=["label studio", "datumaro", "fifty-one"])
def test_exports_of_tools(tmp_path, value):
    for way in places(value):
        for bad in BAD:
            write(tmp_path / "list.json", json.dumps(put(value, way, bad)))
            read_or_refused(csv_of(tmp_path), tmp_path)


@pytest.mark.parametrize("task", ["action", "subaction"])
def test_dives_in_json(tmp_path, task):
    good = [_record("a__1"), _record("b__2", transitions=(("Back -> Twist", 3), ("Twist -> Entry", 6)))]
    for name in ("train", "val", "test"):
        write(tmp_path / f"{name}.json", json.dumps([_record(f"{name}__1")]))
    cfg = DatasetConfig(name="finediving", root=str(tmp_path), videos="/f", task=task)
    for way in places(good):
        for bad in BAD:
            write(tmp_path / "train.json", json.dumps(put(good, way, bad)))
            read_or_refused(cfg, tmp_path)


def test_dives_in_pickles(tmp_path):
    cfg = _pickles(tmp_path)
    for path in sorted(tmp_path.glob("*.pkl")):
        data = path.read_bytes()
        good = pickle.loads(data)
        for way in places(good):
            for bad in (None, -1, 1e999, "", [], {}):
                path.write_bytes(pickle.dumps(put(good, way, bad), 3))
                read_or_refused(cfg, tmp_path)
        path.write_bytes(data)
