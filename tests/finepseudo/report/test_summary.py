"""The rows of the report: numbers over seeds, and what a terminal shows of them."""

from __future__ import annotations

import json
import math
import shutil

import pytest

from finepseudo.report import render_text, summary_table
from finepseudo.report.summary import TOP5_CLASSES
from tests.finepseudo.report.pages import SMALL, change, load, page_of
from tests.finepseudo.report.run_folder_fixture import write_run_folder


def test_the_terminal_table(small):
    values = {"supervised": 0.5, "pseudo_label": 0.625, "finepseudo": 0.75}
    for method, top1 in values.items():
        path = small / "seed-3" / method / "evaluation" / "metrics.json"
        path.write_text(json.dumps(load(path) | {"top1": top1, "mean_class": top1 / 2}))
        for number, path in enumerate(sorted(small.glob(f"seed-3/{method}/round-*/pseudo_metrics.json"))):
            path.write_text(json.dumps(load(path) | {"accepted": 7 + number, "precision": 0.875 if number else None}))
    rows = summary_table(small)
    assert [r.method for r in rows] == list(values)
    assert [r.gain.mean for r in rows] == [None, 0.125, 0.25]
    assert render_text(rows).splitlines() == [
        "method                 seeds  top-1 %  mean-class %  round 0: labels (% right)  round 1: labels (% right)",
        "---------------------  -----  -------  ------------  -------------------------  -------------------------",
        "Supervised only            1     50.0          25.0                          –                          –",
        "Pseudo-label baseline      1     62.5          31.2                      7 (–)                   8 (87.5)",
        "FinePseudo                 1     75.0          37.5                      7 (–)                   8 (87.5)",
        "(one seed)",
    ]


def test_text_without_a_method(tmp_path):
    (tmp_path / "config.yaml").write_text("seeds: [0]\n")
    assert render_text(summary_table(tmp_path)) == "no method has run yet"


def test_absent_numbers_are_dashes_not_zeros(small):
    for path in small.glob("seed-3/*/evaluation/metrics.json"):
        change(path, top1=None, mean_class=math.nan)
    cells = page_of(small).tables["headline"][1]
    assert cells[2] == cells[4] == "–"


@pytest.mark.parametrize("n_classes", [TOP5_CLASSES - 1, TOP5_CLASSES])
def test_top_5_is_told_where_it_says_something(n_classes, tmp_path):
    root = write_run_folder(tmp_path / "run", **SMALL | {"n_classes": n_classes, "methods": ("supervised",)})
    (row,) = summary_table(root)
    head, cells = page_of(root).tables["headline"]
    assert ("Top-5" in head) == bool(row.top5.values) == (n_classes == TOP5_CLASSES)
    top5 = load(root / "seed-3/supervised/evaluation/metrics.json")["top5"]
    assert "Top-5" not in head or cells[head.index("Top-5")] == f"{100 * top5:.1f}"


def test_what_an_earlier_configuration_left_is_not_shown(folder, tmp_path):
    """Other seeds, methods and rounds in the folder are of another run: none of their numbers goes into a table."""
    mine = shutil.copytree(folder, tmp_path / "mine")
    text = (mine / "config.yaml").read_text().replace("[0, 1]", "[1]").replace("rounds: 2", "rounds: 0")
    (mine / "config.yaml").write_text(text + "methods: [finepseudo]\n")
    (row,) = summary_table(mine)
    assert (row.title, row.seeds, [labels.round for labels in row.rounds]) == ("FinePseudo", (1,), [0])
    training = page_of(mine).tables["training"][1:]
    assert {name for _, name, *_ in training} == {"all methods, seed 1"}
    assert {title for title, *_ in training} == {"pretrain", "frame encoder, round 0", "action encoder, round 0"}


def test_what_no_method_is_called_has_a_row_too(small):
    (small / "seed-3" / "finepseudo").rename(small / "seed-3" / "mine")
    rows = summary_table(small)
    assert [row.title for row in rows] == ["Supervised only", "Pseudo-label baseline", "mine"]


def test_other_answers_stand_beside_that_of_f_e_in_every_table(small):
    votes = {"test": {"frame": {"top1": 0.25}, "mean": {"top1": 0.875}}, "verification": 0.75}
    (small / "seed-3" / "finepseudo" / "votes").mkdir()
    path = small / "seed-3" / "finepseudo" / "votes" / "metrics.json"
    path.write_text(json.dumps(votes | {"chosen": "mean", "because": "best of 8 held-out labelled clips"}))
    rows = summary_table(small)
    head, _, *body = render_text(rows).splitlines()[:-1]
    assert head.split()[4:12] == ["f_A", "%", "mean", "vote", "%", "pair", "AP", "%"]
    assert "25.0         87.5       75.0" in body[-1]
    page = page_of(small)
    assert page.tables["headline"][0][3:6] == ["f_A", "Mean vote", "Pair AP"]
    assert [row[3:6] for row in page.tables["headline"][1:]] == [["–"] * 3, ["–"] * 3, ["25.0", "87.5", "75.0"]]
    said = "seed 3: the answer is that of the mean of f_E and f_A; best of 8 held-out"
    assert any(said in note for note in page.notes)


def test_labels_of_the_last_round_are_shown_where_they_are_asked_for(folder, tmp_path):
    mine = shutil.copytree(folder, tmp_path / "mine")
    text = (mine / "config.yaml").read_text().replace("rounds: 2", "rounds: 1")
    for last, rounds in (("true", [0, 1]), ("false", [0])):
        (mine / "config.yaml").write_text(f"{text}embed: {{last_round: {last}}}\n")
        assert [labels.round for labels in summary_table(mine)[-1].rounds] == rounds
