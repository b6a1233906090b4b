"""Clips on the page: which are worth a look, and the rows that lead to their files."""

from __future__ import annotations

import json
import re

import pyarrow.parquet as pq
import pytest

from finepseudo.report import write_report
from finepseudo.report.clips import ShownClip, galleries, gallery_keys, href, shown_clips
from finepseudo.report.reading import read_run
from shards.types import NO_LABEL
from tests.finepseudo.report.pages import classes_of
from tests.finepseudo.report.run_folder_fixture import write_run_folder


def held(text):
    """The JSON of the page's clips."""
    return json.loads(re.search(r'id="clip-data">(.*?)</script>', text, re.S)[1])


def test_every_tested_and_every_pool_clip_has_its_row(small):
    page = held(write_report(small).read_text())
    rows = {row[0]: row for row in page["rows"]}
    method = small / "seed-3" / "finepseudo"
    tested = pq.read_table(method / "evaluation" / "predictions.parquet").to_pylist()
    pool = pq.read_table(method / "round-01" / "pseudo_labels.parquet").to_pylist()
    assert rows.keys() == {row["key"] for row in (*tested, *pool)}
    assert page["classes"] == classes_of(small)
    for row in tested:
        found = rows[row["key"]]
        assert page["root"] + found[1] == f"videos/{row['key']}.mp4"
        assert found[2:6] == ["test", row["label"], row["prediction"], pytest.approx(max(row["p"]), abs=1e-3)]
    for row in pool:
        assert rows[row["key"]][4] == row["label"]
        assert rows[row["key"]][6:] == [int(row["accepted"]), row["label_A"], row["label_E"]]


def clip(key, truth, said, confidence, **more):
    return ShownClip(key=key, path="", role="test", truth=truth, said=said, confidence=confidence, **more)


def test_wrong_clips_come_from_every_confusion_before_a_second_of_one():
    clips = [
        clip("a", 0, 1, 0.9),
        clip("b", 0, 1, 0.8),
        clip("c", 2, 1, 0.3),
        clip("d", 1, 1, 0.2),
        clip("e", 0, 1, 0.7),
    ]
    wrong, unsure, fresh = galleries(clips).values()
    assert [c.key for c in wrong] == ["a", "c", "b", "e"]
    assert [c.key for c in unsure] == ["d", "c", "e", "b", "a"]
    assert fresh == []


def test_new_labels_come_from_every_class_before_a_second_of_one():
    said = {"a": (0, 0.9), "b": (0, 0.8), "c": (2, 0.3), "d": (1, 0.7)}
    clips = [clip(key, NO_LABEL, label, p, fresh=key != "d", accepted=True) for key, (label, p) in said.items()]
    assert [c.key for c in galleries(clips)["Newest accepted labels, of every class the surest first"]] == [
        "a",
        "c",
        "b",
    ]


def test_a_label_is_new_where_the_round_before_did_not_accept_it(small):
    before, now = (
        {
            row["key"]: row
            for row in pq.read_table(small / f"seed-3/finepseudo/round-0{n}/pseudo_labels.parquet").to_pylist()
        }
        for n in (0, 1)
    )
    expected = {
        key
        for key, row in now.items()
        if row["accepted"] and not (before[key]["accepted"] and before[key]["label"] == row["label"])
    }
    assert {c.key for c in shown_clips(read_run(small)) if c.fresh} == expected


def test_thumbnails_stand_in_their_clips_and_their_lack_is_said(small):
    keys = gallery_keys(read_run(small))
    assert "No thumbnails: the shards could not be read" in write_report(small).read_text()
    text = write_report(small, {keys[0]: "data:image/webp;base64,AAAA"}).read_text()
    assert "No thumbnails" not in text
    assert re.search(rf'data-key="{keys[0]}"[^>]*><div class="strip" style="background-image:url\(data:image', text)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/data/a b#1.mp4", "file:///data/a%20b%231.mp4"),
        ("https://host/a.mp4", "https://host/a.mp4"),
        ("s3://bucket/a.mp4", ""),
        ("a.mp4", ""),
    ],
)
def test_the_way_to_a_file_is_one_that_a_browser_goes(path, expected):
    assert href(path) == expected


def test_two_thousand_clips_of_48_classes_stay_below_five_megabytes(tmp_path):
    folder = write_run_folder(
        tmp_path / "wide",
        n_classes=48,
        per_class=(2, 30, 10),
        seeds=(0,),
        methods=("supervised", "finepseudo"),
        steps=5,
    )
    keys = gallery_keys(read_run(folder))
    path = write_report(folder, dict.fromkeys(keys, "data:image/webp;base64," + 16_000 * "A"))
    assert len(held(path.read_text())["rows"]) == 48 * 40
    assert path.stat().st_size < 5_000_000
