"""The table of a prediction in its three forms; numbers are written by hand."""

import csv
import io
import json

import pyarrow.parquet as pq
import pytest
import torch

from finepseudo.evaluation.predict import ClassVote, Match, Prediction
from jobs.pipeline.predict.tables import PREDICTED_SCHEMA, Answer, check_out, csv_text, table_of, write_predictions
from shards.errors import UserError
from shards.write.plans import PlannedClip

MATCH = Match(
    key="dive-3",
    class_name="pike",
    score=0.75,
    distance=2.5,
    cost=torch.zeros(4, 4),
    alignment=torch.eye(4),
    differs=(1, 2),
    differs_cost=0.5,
    cost_mean=0.25,
)
MADE = Prediction(
    classes=(ClassVote(name="tuck", probability=0.75), ClassVote(name="pike", probability=0.25)),
    matches=(MATCH,),
    p=torch.tensor([0.875, 0.125]),
    acted=(ClassVote(name="tuck", probability=0.875),),
    answer="mean",
    aligned=(ClassVote(name="pike", probability=0.625),),
    p_a=torch.tensor([0.375, 0.625]),
)
ANSWERS = [
    Answer(PlannedClip(key="0", path='a "b", c.mp4', start=1.0, end=2.0), MADE, times=(0.0, 0.5, 1.0, 1.5)),
    Answer(PlannedClip(key="1", path="bad.mp4"), None, reason="truncated", detail="moov"),
]


@pytest.fixture
def table():
    return table_of(ANSWERS, {"dive-3": "videos/dive-3.mp4"})


def test_a_row_holds_both_votes_and_where_the_match_differs(table):
    assert table.schema.equals(PREDICTED_SCHEMA)
    good, bad = table.to_pylist()
    assert (good["class"], good["confidence"], good["class_A"], good["confidence_A"]) == ("tuck", 0.75, "pike", 0.625)
    (match,) = good["matches"]
    assert (match["path"], match["differs_from_s"], match["differs_to_s"]) == ("videos/dive-3.mp4", 0.5, 1.0)
    assert (good["class_E"], good["confidence_E"], good["answer"]) == ("tuck", 0.875, "mean")
    assert good["p"] == [0.875, 0.125]
    assert (bad["class"], bad["matches"], bad["reason"], bad["detail"]) == (None, None, "truncated", "moov")


def test_csv_has_plain_columns_with_further_classes_and_matches_behind(table):
    text = csv_text(table)
    names = text.splitlines()[0].split(",")
    assert names[:6] == ["path", "start", "end", "class", "confidence", "answer"]
    assert names[6:10] == ["class_E", "confidence_E", "class_A", "confidence_A"]
    assert names[10:12] == ["class_2", "confidence_2"]
    assert names[-2:] == ["reason", "detail"]
    good, bad = csv.DictReader(io.StringIO(text))
    assert good["path"] == 'a "b", c.mp4'
    assert (good["class_2"], good["match_1_class"], good["match_1_differs_to_s"]) == ("pike", "pike", "1")
    assert (bad["class"], bad["match_1_key"], bad["reason"]) == ("", "", "truncated")


def test_the_ending_says_what_is_written(table, tmp_path):
    for name in ("x.csv", "x.jsonl", "x.parquet"):
        write_predictions(tmp_path / name, table)
    assert pq.read_table(tmp_path / "x.parquet").equals(table)
    assert [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()] == table.to_pylist()
    assert (tmp_path / "x.csv").read_text() == csv_text(table)
    with pytest.raises(UserError, match=r"x\.xlsx: ends with none of \.csv, \.jsonl, \.parquet"):
        check_out(tmp_path / "x.xlsx")
    with pytest.raises(UserError, match=r"cannot write .*x\.csv/y\.csv: a part of the path is a file"):
        check_out(tmp_path / "x.csv" / "y.csv")


def test_no_answer_makes_an_empty_table_with_its_columns():
    assert csv_text(table_of([], {})).startswith("path,start,end,class,confidence")
