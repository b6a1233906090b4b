"""Runs beside each other: each class by run and method, from the predictions themselves, and the keys that differ."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest

from finepseudo.report.blocks import Note, Table
from finepseudo.report.comparison_files import write_comparison
from finepseudo.report.reading import read_run
from finepseudo.report.side_by_side import section
from tests.finepseudo.report.pages import Page
from tests.finepseudo.report.run_folder_fixture import class_names, write_run_folder

SMALL = {"n_classes": 4, "per_class": (2, 5, 3), "frames": 8, "steps": 8, "methods": ("supervised", "finepseudo")}
TITLES = {"supervised": "Supervised only", "finepseudo": "FinePseudo"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    return [write_run_folder(place / name, seeds=seeds, **SMALL) for name, seeds in (("one", (0, 1)), ("two", (0,)))]


def right(folder, method):
    """Percent of the test clips of all seeds that are right, by class name."""
    hits = defaultdict(list)
    for path in sorted(folder.glob(f"seed-*/{method}/evaluation/predictions.parquet")):
        for row in pq.read_table(path).to_pylist():
            hits[class_names(4)[row["label"]]].append(row["label"] == row["prediction"])
    return {name: 100 * np.mean(found) for name, found in hits.items()}


def test_every_class_stands_beside_itself(folders):
    table = section([read_run(folder) for folder in folders]).blocks[0]
    columns = [(folder, method) for folder in folders for method in TITLES]
    assert table.head == ["Class", *(f"#{f.name}: {TITLES[m]}" for f, m in columns), "#Spread"]
    assert len(table.rows) == 4
    for name, *cells in table.rows:
        expected = [right(folder, method)[name] for folder, method in columns]
        expected.append(max(expected) - min(expected))
        assert [float(cell) for cell in cells] == pytest.approx(expected, abs=0.051)


def test_the_keys_that_differ_are_named_and_no_other(folders):
    runs = [read_run(folder) for folder in folders]
    for run, lr in zip(runs, (0.1, 0.2), strict=True):
        run.config = {"name": run.root.name, "rounds": 1, "action_stage": {"train": {"optim": {"lr": lr}}}}
    runs[1].config["split"] = {"ratio": 0.1}
    rows = section(runs).blocks[1].rows
    assert rows == [["action_stage.train.optim.lr", "0.1", "0.2"], ["split.ratio", "–", "0.1"]]
    runs[1].config = dict(runs[0].config)
    assert isinstance(section(runs).blocks[1], Note)


def test_one_run_has_no_names_before_its_methods_and_no_second_table(folders):
    (table,) = section([read_run(folders[0])]).blocks
    assert isinstance(table, Table)
    assert table.head[1:-1] == [f"#{title}" for title in TITLES.values()]


def test_the_page_of_a_comparison_holds_both(folders, tmp_path):
    paths = write_comparison(folders, tmp_path / "both")[1]
    tables = Page(paths[-1].read_text()).tables
    assert {"compare-methods", "classes-beside"} <= tables.keys()
    assert len(tables["classes-beside"]) == 5
