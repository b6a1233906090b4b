import json

import pytest

from shards.annotations.exports import file_name, read_export
from shards.errors import UserError


def read(tmp_path, value):
    (tmp_path / "x.json").write_text(json.dumps(value))
    return [(i.path, i.label, i.start, i.end) for i in read_export(tmp_path / "x.json", lambda _: 25.0)]


def task(path, *results):
    return {"id": 1, "data": {"video": path}, "annotations": [{"result": list(results)}]}


def test_label_studio(tmp_path):
    found = read(
        tmp_path,
        [
            task("/data/upload/1/0a1b2c3d-a.mp4", {"type": "choices", "value": {"choices": ["jump"]}}),
            task("b.mp4"),
            task("c.mp4", {"value": {"timelinelabels": ["run"], "ranges": [{"start": 1, "end": 50}]}}),
            task("d.mp4", {"value": {"labels": ["run"], "start": 0.5, "end": 2}}),
            {"data": {"video": "e.mp4"}, "annotations": [{"was_cancelled": True, "result": [{"value": {}}]}]},
        ],
    )
    assert found == [
        ("/data/upload/1/0a1b2c3d-a.mp4", "jump", None, None),
        ("b.mp4", "", None, None),
        ("c.mp4", "run", 0.0, 2.0),
        ("d.mp4", "run", 0.5, 2.0),
        ("e.mp4", "", None, None),
    ]
    short = read(
        tmp_path, [{"video": "a.mp4", "choice": "jump", "id": 3}, {"video": "b.mp4", "choice": {"choices": ["x"]}}]
    )
    assert short == [("a.mp4", "jump", None, None), ("b.mp4", "x", None, None)]


def test_cvat_as_datumaro(tmp_path):
    value = {
        "categories": {"label": {"labels": [{"name": "jump"}, {"name": "run"}]}},
        "items": [
            {"id": "a", "media": {"path": "a.mp4"}, "annotations": [{"type": "label", "label_id": 1}]},
            {"id": "b.mp4", "annotations": [{"type": "bbox", "label_id": 0}]},
        ],
    }
    assert read(tmp_path, value) == [("a.mp4", "run", None, None), ("b.mp4", "", None, None)]


def test_fifty_one(tmp_path):
    value = {
        "classes": ["jump", "run"],
        "labels": {
            "a": 1,
            "b": None,
            "c": {"label": "jump"},
            "d": [{"label": 0, "support": [26, 50]}, {"label": 1, "timestamps": [3, 4]}],
            "e": [],
        },
    }
    assert read(tmp_path, value) == [
        ("a", "run", None, None),
        ("b", "", None, None),
        ("c", "jump", None, None),
        ("d", "jump", 1.0, 2.0),
        ("d", "run", 3, 4),
        ("e", "", None, None),
    ]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([{"video": 3, "label": "run"}], "path 3 and class 'run' must be texts"),
        ([{"video": ""}], "path '' and class '' must be texts"),
        ([task("a.mp4", {"value": {"choices": [7]}})], "class 7 must be texts"),
        ([task("a.mp4", {"value": {"labels": ["x"], "start": float("nan"), "end": 2}})], "start nan and end 2.0: 0 <="),
        ([task("a.mp4", {"value": {"labels": ["x"], "start": 3, "end": 2}})], "start 3.0 and end 2.0: 0 <="),
        ([task("a.mp4", {"value": {"labels": ["x"], "start": 3, "end": float("inf")}})], "end inf: 0 <="),
        ({"classes": ["x", "y"], "labels": {"a": -1}}, "class -1 is none of the 2 classes"),
        ({"classes": ["x", "y"], "labels": {"a": 2}}, "class 2 is none of the 2 classes"),
        ({"labels": {"a": [{"label": "x", "support": [5, 1]}]}}, "start 0.16 and end 0.04: 0 <="),
    ],
)
def test_what_an_item_cannot_hold_is_refused_in_one_line(tmp_path, value, says):
    """A class of number -1 was the last one."""
    with pytest.raises(UserError, match="an item is not as expected") as refused:
        read(tmp_path, value)
    assert says in str(refused.value)


def test_json_that_is_nested_without_end_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested too deep"):
        read_export(tmp_path / "x.json", lambda _: 25.0)


@pytest.mark.parametrize("value", [{}, [], {"labels": [1]}, [[1]]])
def test_other_json_is_refused(tmp_path, value):
    with pytest.raises(UserError, match="no export of Label Studio"):
        read(tmp_path, value)
    with pytest.raises(UserError, match="an item is not as expected"):
        read(tmp_path, [{"data": {"image": "a.png"}}])


@pytest.mark.parametrize("number", [-1, 2, True])
def test_a_number_that_no_class_has_is_refused_and_is_not_the_last_one(tmp_path, number):
    tags = [{"type": "label", "label_id": number}]
    cvat = {
        "categories": {"label": {"labels": [{"name": "jump"}, {"name": "run"}]}},
        "items": [{"id": "a.mp4", "annotations": tags}],
    }
    names = {"classes": ["jump", "run"]}
    spans = [{"label": number, "support": [1, 2]}]
    for value in (cvat, names | {"labels": {"a.mp4": number}}, names | {"labels": {"a.mp4": spans}}):
        with pytest.raises(UserError, match=f"class {number} is none of the 2 classes"):
            read(tmp_path, value)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/upload/1/0a1b2c3d-a b.mp4", "a b.mp4"),
        ("/data/local-files/?d=x/a.mp4", "a.mp4"),
        ("https://host/x/a%20b.mp4?token=1", "a b.mp4"),
        ("C:\\x\\a.mp4", "a.mp4"),
        ("x/0a1b2c3d-a.mp4", "0a1b2c3d-a.mp4"),
    ],
)
def test_the_file_behind_what_a_tool_writes(path, name):
    assert file_name(path) == name
