"""Warnings of the report: each appears when it should, and only then."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from finepseudo.report.alarms import alarms
from finepseudo.report.reading import read_run
from tests.finepseudo.report.pages import SMALL, change, classes_of, page_of
from tests.finepseudo.report.run_folder_fixture import write_run_folder


def drop_rows(path, key):
    table = pq.read_table(path)
    pq.write_table(table.filter(np.array([not k.startswith(key) for k in table["key"].to_pylist()])), path)


def alarm_cases():
    labels = "seed-3/finepseudo/round-01/pseudo_metrics.json"

    def log(folder, **values):
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"seed": 3, "method": None, "round": 0, "stage": "frame_encoder", **values}) + "\n")

    return {
        "Random start: frame_encoder and action_encoder": lambda f: None,
        "no pseudo-label was accepted in seed 3 round 1": lambda f: change(f / labels, accepted=0),
        "f_S does not fall over the observed distances (seed 3 round 0)": lambda f: log(
            f, **{"align/score_monotone": 0}
        ),
        "f_S hardly tells pairs": lambda f: log(f, **{"train/same": 0.51, "train/different": 0.5}),
        "precision fell from 90.0 to 70.0 %": lambda f: (
            change(f / labels, precision=0.7),
            change(f / labels.replace("01", "00"), precision=0.9),
        ),
        "1 test classes have no labelled clip (Back_1Som_0Twist)": lambda f: drop_rows(
            f / "seed-3/split.parquet", "dive-000-l"
        ),
        "1 of 4 classes have no test clip (Forward_1Som_1Twist)": lambda f: drop_rows(
            f / "seed-3/split.parquet", "dive-001-t"
        ),
        "3 of 40 clips (7.5 %) are in quarantine": lambda f: None,
        "5 test clips could not be decoded": lambda f: change(
            f / "seed-3/supervised/evaluation/metrics.json", n_invalid=5
        ),
        "made by 2 code versions": lambda f: change(f / "seed-3/pretrain/DONE.json", code_version="other"),
        "FinePseudo: not evaluated yet for seed 3": lambda f: (
            f / "seed-3/finepseudo/evaluation/metrics.json"
        ).unlink(),
        "only 1 of 4 classes have an accepted": lambda f: change(
            f / labels, per_class=[{"class": "Back_1Som_0Twist", "accepted": 2, "correct": 1}]
        ),
    }


@pytest.mark.parametrize("text", list(alarm_cases()))
def test_a_warning_appears_when_and_only_when_it_should(small, text):
    calm = write_run_folder(small.parent / "calm", **SMALL)
    config = (calm / "config.yaml").read_text().replace("weights: null", "weights: given.safetensors")
    (calm / "config.yaml").write_text(config)
    (calm / "data" / "quarantine.parquet").unlink()
    for folder in (calm, small):  # the drawn numbers may ring by chance
        for path in folder.glob("seed-3/*/round-*/pseudo_metrics.json"):
            names = classes_of(folder)
            change(
                path, accepted=8, precision=0.8, per_class=[{"class": c, "accepted": 2, "correct": 1} for c in names]
            )
    alarm_cases()[text](small)
    assert any(text in a for a in page_of(small).alarms), page_of(small).alarms
    assert not any(text in a for a in page_of(calm).alarms)


@pytest.mark.parametrize(
    ("methods", "named"),
    [
        ("supervised, sefar", "action_encoder"),
        ("supervised, finepseudo", "frame_encoder and action_encoder"),
        ("supervised, one_of_mine", "frame_encoder and action_encoder"),
    ],
)
def test_an_encoder_that_no_method_trains_has_no_start(small, methods, named):
    config = {
        "frame_encoder": {"weights": "random"},
        "action_encoder": {"weights": None},
        "methods": methods.split(", "),
    }
    (small / "config.yaml").write_text(json.dumps(config))
    assert [a.text.split(" began")[0] for a in alarms(read_run(small)) if "Random" in a.text] == [
        f"Random start: {named}"
    ]
