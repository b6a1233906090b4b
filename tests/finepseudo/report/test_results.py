"""Pseudo-labels of a pool whose classes nobody knows."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from finepseudo.report import write_report
from tests.finepseudo.report.pages import Page, change, load


def hide_the_pool(folder):
    """Make it a run on a list whose pool has no classes."""
    path = folder / "data" / "clips.parquet"
    table = pq.read_table(path)
    pool = {k for s in folder.glob("seed-*/split.parquet") for k in _keys_of(s, "unlabelled")}
    known = zip(table["key"].to_pylist(), table["label"].to_pylist(), strict=True)
    labels = [-1 if key in pool else label for key, label in known]
    pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", pa.array(labels, pa.int32())), path)
    for path in folder.glob("seed-3/*/round-*/pseudo_metrics.json"):
        about = load(path)
        nobody = [{**c, "judged": 0, "correct": 0} for c in about["per_class"]]
        change(path, precision=None, precision_A=None, precision_E=None, judged=0, per_class=nobody)


def _keys_of(path, role):
    table = pq.read_table(path)
    return [k for k, r in zip(table["key"].to_pylist(), table["role"].to_pylist(), strict=True) if r == role]


def test_labels_that_nobody_can_judge_are_not_called_wrong(small):
    hide_the_pool(small)
    text = write_report(small).read_text()
    page = Page(text)
    rows = page.tables["labels-per-class"][1:]
    assert sum(int(row[1]) for row in rows) > 0
    assert [row[2:] for row in rows] == [["0", "0", "–"]] * len(rows)
    assert "of them right" not in text
    assert "nobody can say how many of the labels are right" in text
    assert "no pseudo-label table to draw" not in text
    assert " not judged" in text
    assert "label wrong (down)" not in text
    assert "hue-wrong" not in text[text.index('id="labels"') :].split("<section")[0]
