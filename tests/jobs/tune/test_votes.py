"""What a vote is worth on held-out clips, counted by hand from the numbers that two encoders left."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from finepseudo.training.checkpoint import save_weights
from jobs.config.recipes import load
from jobs.tune.trainings import KEPT, hold_out
from jobs.tune.votes import vote_value
from shards.annotations.base import Clip, make_annotations
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split, write_split
from tests.jobs.tune.base_run import space_of

CLASSES = 3
T, F = 4, 3


@pytest.fixture
def judge(tmp_path):
    """A function: what f_E says of the held-out clips of each class -> the value of a method's vote."""
    cfg = load(
        "smoke", [f"out={tmp_path}", "method.pseudo_label.theta=0.6", "method.finepseudo={theta: 0.6, tau: 0.01}"]
    )
    rows = [
        Clip(name=f"clip {i} é", path="x.avi", label=i % CLASSES, role="test" if i > 8 else "train", source=str(i))
        for i in range(12)
    ]
    split = draw_split(make_annotations(rows, list("abc"), "toy", "1"), SplitConfig(per_class=3), 0)
    RunPaths(cfg.folder).split(0).parent.mkdir(parents=True)
    write_split(RunPaths(cfg.folder).split(0), split)
    labelled, made = split.items("labelled"), tmp_path / "made"
    truth = dict(zip(labelled.keys, labelled.labels.tolist(), strict=True))
    rest, held = hold_out(labelled, 0.34, 0)
    save_weights(made / "frame" / WEIGHTS, {f"scorer.{n}": v for n, v in AlignabilityScorer().state_dict().items()})

    def value(method, said, *, bad=(), unlike=()):
        """said: class -> p_E of its held-out clips; bad: places of held-out clips that f_A and f_E could not read."""
        space = space_of(tmp_path, f"trains: votes\nmethod: {method}\nspace: {{}}")
        keys = [key for i, key in enumerate(held) if i not in bad]
        (made / "action").mkdir(parents=True, exist_ok=True)
        p = np.array([said[truth[key]] for key in keys], np.float32).reshape(len(keys), CLASSES if keys else 0)
        np.savez(made / "action" / KEPT, keys=np.array(keys), p=p)
        shown = sorted([*rest.keys, *keys])
        axes = [(truth[key] + (key in unlike)) % CLASSES for key in shown]
        u = torch.nn.functional.one_hot(torch.tensor(axes), F).float()[:, None].expand(-1, T, -1)
        np.savez(made / "frame" / KEPT, keys=np.array(shown), embeddings=u.numpy())
        return vote_value(cfg, space, made, 0)

    value.held, value.truth = held, truth
    return value


SAID = {0: (0.9, 0.1, 0.0), 1: (0.5, 0.5, 0.0), 2: (0.9, 0.0, 0.1)}
"""Of class 0 sure and right, of 1 not sure, of 2 sure and wrong: two held-out clips each."""


def test_right_ones_less_wrong_ones_of_all_held_out_clips(judge):
    assert len(judge.held) == 6
    assert judge("pseudo_label", SAID) == pytest.approx((2 - 2) / 6)
    assert judge("pseudo_label", SAID | {2: (0.5, 0.0, 0.5)}) == pytest.approx(2 / 6)
    assert judge("pseudo_label", dict.fromkeys(range(3), (0.2, 0.2, 0.6))) == 0
    assert judge("pseudo_label", dict.fromkeys(range(3), (0.1, 0.1, 0.8))) == pytest.approx((2 - 4) / 6)


def test_both_encoders_vote_where_the_method_aligns(judge):
    """f_A is sure and right of every clip: the mean is over the bar where f_E gives the true class over .2."""
    assert judge("finepseudo", SAID) == pytest.approx(4 / 6)
    wrong = [key for key in judge.held if judge.truth[key] == 0]
    assert judge("finepseudo", SAID, unlike=wrong) == pytest.approx(2 / 6), "two votes that differ are not sure"


@pytest.mark.parametrize("method", ["pseudo_label", "finepseudo"])
def test_clips_that_cannot_be_read_do_not_count_and_without_any_nothing_is_known(judge, method):
    sure = dict(enumerate(np.eye(CLASSES) * 0.9 + 0.05))
    assert judge(method, sure) == 1
    assert judge(method, sure, bad=(0, 3)) == 1
    assert math.isnan(judge(method, sure, bad=range(6)))
