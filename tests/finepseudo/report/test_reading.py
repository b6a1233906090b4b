"""Run folders that are not whole: what has not run leaves a line, what is damaged is named."""

from __future__ import annotations

import json
import shutil

import pytest

from finepseudo.report import write_report
from shards.errors import UserError
from tests.finepseudo.report.pages import page_of


@pytest.mark.parametrize(
    ("missing", "note"),
    [
        ("config.yaml", "config.yaml"),
        ("environment.json", "environment.json"),
        ("metrics.jsonl", "metrics.jsonl holds no train/loss"),
        ("data/quarantine.parquet", "not been probed"),
        ("seed-3/split.parquet", "no label split"),
        ("seed-3/*/evaluation/metrics.json", "no method has been evaluated"),
        ("seed-3/*/evaluation/predictions.parquet", "no test predictions"),
        ("seed-3/*/evaluation/examples.npz", "no example pairs"),
        ("seed-3/*/round-*/pseudo_labels.parquet", "no pseudo-label table"),
        ("seed-3/*/round-*", "no pseudo-labels have been made"),
        ("seed-3/[fps]*", "no method has run"),
        ("**/DONE.json", "no stage is done"),
        ("data/clips.parquet", None),
        ("seed-3", "no method has run"),
    ],
)
def test_a_stage_that_has_not_run_leaves_a_line(small, missing, note):
    assert not [n for n in page_of(small).notes if "Not there yet" in n]
    found = list(small.glob(missing))
    assert found
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    notes = page_of(small).notes
    if note is not None:
        assert any(n.startswith("Not there yet") and note in n for n in notes), notes


def test_a_run_that_has_only_begun(tmp_path):
    (tmp_path / "config.yaml").write_text("seeds: [0]\n")
    assert len(page_of(tmp_path).notes) >= 8


def test_no_run_is_refused_with_one_line(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(UserError, match=r"report: .*give the") as caught:
            write_report(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damaged",
    [
        "config.yaml",
        "environment.json",
        "data/clips.parquet",
        "seed-3/split.parquet",
        "seed-3/finepseudo/round-01/pseudo_labels.parquet",
        "seed-3/finepseudo/round-00/pseudo_metrics.json",
        "seed-3/finepseudo/evaluation/metrics.json",
        "seed-3/finepseudo/evaluation/predictions.parquet",
        "seed-3/finepseudo/evaluation/examples.npz",
    ],
)
def test_a_damaged_file_is_named(small, damaged):
    (small / damaged).write_bytes(b"{: [\x00 damaged")
    assert any(a.startswith("Alarm") and damaged in a for a in page_of(small).alarms)


def test_a_cut_log_line_is_counted_and_a_repeated_step_counts_once(small):
    path = small / "metrics.jsonl"
    text = path.read_text()
    again = json.loads(text.splitlines()[0]) | {"train/loss": 123.0}
    path.write_text(json.dumps(again) + "\n" + text + '{"seed": 3, "sta')
    page = page_of(small)
    assert any("metrics.jsonl: 1 line(s)" in a for a in page.alarms)
    assert page.tables["training"][1:] == page_table(small, text)


def page_table(folder, log):
    (folder / "metrics.jsonl").write_text(log)
    return page_of(folder).tables["training"][1:]
