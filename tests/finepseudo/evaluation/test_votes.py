import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finepseudo.evaluation.votes import VOTES, answers, choose_vote, chosen_vote, vote_metrics
from finepseudo.run_folder.files import write_json

CLASSES = ["a", "b", "c"]


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_each_vote_is_counted_on_the_same_clips(n, seed):
    rng = np.random.default_rng(seed)
    p_e, p_a = rng.dirichlet(np.ones(3), (2, n))
    labels, keys = rng.integers(0, 3, n), [f"k{i:02d}" for i in range(n)]
    broken = rng.random(n) < 0.2
    p_a[broken] = np.nan
    found = vote_metrics(keys, labels, answers(p_e, p_a), CLASSES)
    kept = np.flatnonzero(~broken)
    for vote, p in {"action": p_e, "frame": p_a, "mean": p_e + p_a}.items():
        right = [int(max(range(3), key=lambda c: p[i, c]) == labels[i]) for i in kept]
        assert found[vote]["n"] == len(kept)
        assert found[vote]["top1"] == (pytest.approx(sum(right) / len(right)) if right else None)


def measured(action, frame, mean):
    return {v: {"top1": t, "n": 8} for v, t in zip(VOTES, (action, frame, mean), strict=True)}


@pytest.mark.parametrize(
    ("wanted", "held_out", "chosen", "because"),
    [
        ("all", measured(0.5, 0.25, 0.75), "mean", "best of 8 held-out labelled clips: f_E 50.0, f_A 25.0"),
        ("all", measured(0.5, 0.75, 0.5), "frame", "f_A 75.0"),
        ("all", measured(0.5, 0.5, 0.5), "action", "best of 8"),
        ("all", measured(0.25, 0.5, 0.5), "frame", "best of 8"),
        ("all", None, "action", "no labelled clip is held out"),
        ("all", measured(None, None, None), "action", "no labelled clip is held out"),
        ("frame", measured(0.9, 0.1, 0.1), "frame", "evaluate.votes is frame"),
        ("mean", None, "mean", "evaluate.votes is mean"),
    ],
)
def test_the_answer_is_the_best_on_held_out_clips_or_the_one_that_is_asked_for(wanted, held_out, chosen, because):
    found = choose_vote(wanted, held_out)
    assert found[0] == chosen
    assert because in found[1]


def test_a_run_without_votes_answers_with_f_e(tmp_path):
    assert chosen_vote(tmp_path / "metrics.json")[0] == "action"
    write_json(tmp_path / "metrics.json", {"chosen": "mean", "because": "so"})
    assert chosen_vote(tmp_path / "metrics.json") == ("mean", "so")
