"""Which clips a person is asked for, and why; tables are written by hand."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finepseudo.report.review import Near, choose, write_review
from tests.finepseudo.report.pages import Page

CLASSES = ["pike", "tuck", "</script>"]


def table(path, *rows):
    """rows: key, p, f_A's class, f_E's class, accepted, valid."""
    made = [
        {
            "key": key,
            "label": max(range(3), key=p.__getitem__),
            "label_A": a,
            "label_E": e,
            "accepted": accepted,
            "valid": valid,
            "classes": list(range(3)),
            "p": p,
        }
        for key, p, a, e, accepted, valid in rows
    ]
    schema = pa.schema(
        [
            ("key", pa.string()),
            ("label", pa.int32()),
            ("label_A", pa.int32()),
            ("label_E", pa.int32()),
            ("accepted", pa.bool_()),
            ("valid", pa.bool_()),
            ("classes", pa.list_(pa.int32())),
            ("p", pa.list_(pa.float32())),
        ]
    )
    pq.write_table(pa.Table.from_pylist(made, schema=schema), path)
    return path


SURE, CLOSE, RARE = [0.9, 0.05, 0.05], [0.5, 0.45, 0.05], [0.1, 0.0, 0.9]
MANY = [(f"done-{n}", SURE, 0, 0, True, True) for n in range(5)]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (("asked", SURE, 0, 1, False, True), "f_A says pike, f_E says tuck"),
        (("asked", CLOSE, 0, 0, False, True), "the two best classes are 5 points apart"),
        (("asked", RARE, 2, 2, False, True), "</script> has no accepted labels"),
    ],
)
def test_each_ground_brings_a_clip_before_one_without(tmp_path, row, why):
    plain = ("plain", SURE, 0, 0, False, True)
    first, second = choose(table(tmp_path / "t", plain, row, *MANY), CLASSES, 2)
    assert (first.key, second.key) == ("asked", "plain")
    assert first.why == (why,)
    assert second.why == ("no label was accepted",)


def test_accepted_labels_come_last_and_unreadable_clips_never(tmp_path):
    rows = [("plain", SURE, 0, 0, False, True), ("bad", SURE, 0, 1, False, False), *MANY]
    assert [one.key for one in choose(table(tmp_path / "t", *rows), CLASSES, 3)] == ["plain", "done-0", "done-1"]


def test_no_class_fills_the_page(tmp_path):
    """Six clips of a class without a label and one of another class without: that one does not come last."""
    rows = [(f"rare-{n}", RARE, 2, 2, False, True) for n in range(6)]
    rows.append(("tuck", [0.15, 0.85, 0.0], 1, 1, False, True))
    found = [one.key for one in choose(table(tmp_path / "t", *rows), CLASSES, 7)]
    assert found.index("tuck") < 2
    assert len(set(found)) == 7


def test_the_page_is_one_file_and_names_are_text(tmp_path):
    (one,) = choose(table(tmp_path / "t", ("a", RARE, 2, 2, False, True)), CLASSES, 5)
    text = write_review(
        tmp_path / "r.html", "<b>run", [one], CLASSES, paths={"a": "/v/a.mp4"}, thumbnails={}
    ).read_text()
    page = Page(text)
    assert page.tags["script"] == 2
    assert page.tags["b"] == 0
    assert page.links == ["data:,"]
    (item,) = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])["items"]
    assert item["href"] == "file:///v/a.mp4"
    assert [label for label, _ in item["choices"]] == [2, 0, 1]


def test_classes_of_a_table_that_keeps_the_likeliest_are_named_by_their_numbers(tmp_path):
    path = table(tmp_path / "t", ("a", CLOSE, 1, 0, False, True))
    whole = pq.read_table(path)
    for name, values in {"classes": [0, 2], "p": [0.5, 0.45]}.items():
        field = whole.schema.field(name)
        whole = whole.set_column(whole.schema.get_field_index(name), field, pa.array([values], field.type))
    pq.write_table(whole, path)
    (one,) = choose(path, CLASSES, 1)
    assert [label for label, _ in one.choices] == [0, 2]
    assert one.why == ("f_A says tuck, f_E says pike", "the two best classes are 5 points apart", *one.why[2:])
    pq.write_table(pq.read_table(table(path, ("a", RARE, 2, 2, False, True))).drop_columns("classes"), path)
    assert [label for label, _ in choose(path, CLASSES, 1)[0].choices] == [2, 0, 1], "a run of before has all"


def test_labelled_clips_stand_beside_it(tmp_path):
    from dataclasses import replace

    (one,) = choose(table(tmp_path / "t", ("a", RARE, 2, 2, False, True)), CLASSES, 5)
    one = replace(one, near=(Near(key="b", label=1, score=0.75),))
    text = write_review(tmp_path / "r.html", "run", [one], CLASSES, paths={}, thumbnails={"b": "data:x"}).read_text()
    (item,) = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])["items"]
    assert item["near"] == [{"key": "b", "label": 1, "score": 0.75, "strip": "data:x"}]
