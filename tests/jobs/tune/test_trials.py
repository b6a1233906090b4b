"""One trial: its clips, its folder, what it reports."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finepseudo.training.checkpoint import save_state
from jobs.tune.trainings import hold_out
from jobs.tune.trials import METRIC, _append_mean, end_trial, reported, result_of, trial_folder
from shards.errors import UserError
from shards.types import ItemTable

ROOT = Path(__file__).parents[3]
SPACES = sorted((ROOT / "tune_spaces").glob("*.yaml"))


def items(labels: list[int]) -> ItemTable:
    n = len(labels)
    return ItemTable(keys=[f"k{i:03d}" for i in range(n)], labels=np.array(labels, np.int32), pseudo=np.zeros(n, bool))


@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=40), share=st.floats(0.05, 0.95), seed=st.integers(0, 9))
def test_every_class_keeps_a_clip_and_nothing_is_on_both_sides(labels, share, seed):
    table = items(labels)
    if len(set(labels)) == len(labels):
        with pytest.raises(UserError, match="no class has two labelled clips"):
            hold_out(table, share, seed)
        return
    rest, held = hold_out(table, share, seed)
    assert sorted([*rest.keys, *held]) == table.keys
    assert set(rest.labels.tolist()) == set(labels)
    truth = dict(zip(table.keys, labels, strict=True))
    for label in set(labels):
        n = labels.count(label)
        taken = sum(truth[key] == label for key in held)
        assert taken == 0 if n == 1 else 1 <= taken <= n - 1
    again = hold_out(table, share, seed)
    assert list(again[0].keys) == list(rest.keys)


def test_what_a_trial_need_not_do_again_is_reported_again(tmp_path):
    lines = [{"step": step, METRIC: step / 10} for step in (2, 4, 6)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert reported(tmp_path) == []
    save_state(tmp_path / "checkpoints", 4, {})
    assert [line["step"] for line in reported(tmp_path)] == [2, 4]
    assert result_of(tmp_path, None) == {"trial": tmp_path.name, "state": "unfinished", "reports": 2, METRIC: 0.4}
    end_trial(tmp_path, "stopped")
    assert [line["step"] for line in reported(tmp_path)] == [2, 4, 6]
    assert result_of(tmp_path, None) == {"trial": tmp_path.name, "state": "stopped", "reports": 3, METRIC: 0.6}


def test_a_trial_is_found_by_its_values(tmp_path):
    one = trial_folder(tmp_path, {"a": 1, "b": {"c": 2}})
    assert one == trial_folder(tmp_path, {"b": {"c": 2}, "a": 1})
    assert one != trial_folder(tmp_path, {"a": 1, "b": {"c": 3}})


def test_a_trial_of_several_draws_is_judged_by_their_mean(tmp_path):
    assert _append_mean(tmp_path, 0, 0.2) == 0.2
    assert _append_mean(tmp_path, 1, 0.6) == pytest.approx(0.4)
    assert result_of(tmp_path, None)["state"] == "unfinished"
    end_trial(tmp_path, "done")
    assert result_of(tmp_path, None) == {"trial": tmp_path.name, "state": "done", "reports": 2, METRIC: 0.4}
