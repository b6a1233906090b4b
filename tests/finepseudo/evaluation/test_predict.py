"""One video in, classes and best-aligned exemplars out; distances come from the reference written as loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from finepseudo.evaluation.predict import Alignment, Exemplars, Predictor, best_aligned, predict
from shards.errors import UserError

CLASSES = ("back", "forward", "inward")


def unit(frames, angle):
    """A clip that turns: unit vectors [T, 4] with their own phase."""
    t = torch.linspace(0, 1.5, frames) + angle
    return torch.stack([t.cos(), t.sin(), torch.zeros(frames), torch.zeros(frames)], 1)


def predictor(angles, labels, scorer=lambda d: torch.exp(-d.clamp(min=0)), keys=None):
    keys = keys or [f"clip-{i}" for i in range(len(angles))]
    exemplars = Exemplars(keys=keys, labels=labels, embeddings=torch.stack([unit(6, a) for a in angles]))
    return Predictor(
        action_encoder=lambda x: x.mean((1, 3, 4)),  # the colour channels are the logits
        alignment=Alignment(frame_encoder=lambda x: unit(x.shape[1], 0.0)[None], scorer=scorer, exemplars=exemplars),
        classes=CLASSES,
    )


def frames(*views):
    return torch.tensor(views, dtype=torch.float32)[:, None, :, None, None].expand(-1, 6, -1, 2, 2)


def soft_dtw_by_loops(x, y, gamma):
    cost = 1 - np.asarray(x, float) @ np.asarray(y, float).T
    table = np.full((len(x) + 1, len(y) + 1), math.inf)
    table[0, 0] = 0
    for i, j in np.ndindex(cost.shape):
        three = [table[i, j], table[i, j + 1], table[i + 1, j]]
        low = min(three)
        table[i + 1, j + 1] = cost[i, j] + low - gamma * math.log(sum(math.exp(-(v - low) / gamma) for v in three))
    return table[-1, -1]


def test_classes_are_the_mean_softmax_of_the_views():
    found = predict(predictor([0.0], [1]), frames([2.0, 0.0, 1.0], [0.0, 0.0, 3.0]), frames([0.0] * 3)[0], top=2)
    p = np.mean([np.exp(v) / np.exp(v).sum() for v in ([2.0, 0.0, 1.0], [0.0, 0.0, 3.0])], 0)
    assert [c.name for c in found.classes] == ["inward", "back"]
    assert [c.probability for c in found.classes] == pytest.approx([p[2], p[0]], abs=1e-6)


def test_exemplars_come_best_first_with_their_distance_score_and_path():
    run = predictor([0.9, 0.1, 0.4], [0, 1, 2])
    found = best_aligned(run.alignment, CLASSES, unit(6, 0.0), 2)
    assert [(m.key, m.class_name) for m in found] == [("clip-1", "forward"), ("clip-2", "inward")]
    for match, angle in zip(found, (0.1, 0.4), strict=True):
        expected = soft_dtw_by_loops(unit(6, 0.0), unit(6, angle), 1e-3)
        assert match.distance == pytest.approx(expected, abs=1e-4)
        assert match.score == pytest.approx(math.exp(-max(expected, 0)), abs=1e-4)
        assert match.cost.shape == match.alignment.shape == (6, 6)
        assert 6 - 1e-6 <= float(match.alignment.sum()) <= 11 + 1e-6
        assert match.alignment[0, 0] == pytest.approx(1)


def test_equal_scores_go_by_distance_then_by_key():
    run = predictor([0.9, 0.1, 0.1], [0, 1, 2], torch.ones_like, keys=["a", "z", "b"])
    assert [m.key for m in best_aligned(run.alignment, CLASSES, unit(6, 0.0), 9)] == ["b", "z", "a"]


def test_lines_name_classes_and_clips():
    found = predict(predictor([0.0, 0.2], [1, 0]), frames([2.0, 0.0, 1.0]), frames([0.0] * 3)[0], top=1, matches=1)
    head, vote, middle, match = found.lines()
    assert (head, middle) == ("most likely classes", "best-aligned labelled clips")
    assert vote.split() == ["back", "66.5", "%"]
    assert match.split()[0] == "forward"
    assert match.endswith("clip-0")


def test_a_run_without_f_a_says_classes_alone():
    run = Predictor(action_encoder=lambda x: x.mean((1, 3, 4)), alignment=None, classes=CLASSES)
    found = predict(run, frames([2.0, 0.0, 1.0]), None, top=1)
    assert found.matches == ()
    assert [line.split()[0] for line in found.lines()] == ["most", "back"]


@pytest.mark.parametrize("shapes", [((6, 3, 2, 2), (6, 3, 2, 2)), ((1, 6, 3, 2, 2), (0, 3, 2, 2))])
def test_frames_of_another_shape_are_refused(shapes):
    with pytest.raises(UserError, match=r"predict: (action|frame)_frames has shape"):
        predict(predictor([0.0], [1]), *(torch.zeros(s) for s in shapes))


def test_a_failed_run_is_refused():
    with pytest.raises(UserError, match="not finite"):
        predict(predictor([0.0], [1]), frames([math.nan, 0.0, 0.0]), frames([0.0] * 3)[0])


def test_exemplars_must_fit_together():
    with pytest.raises(ValueError, match="2 keys, 1 labels, 2 embeddings"):
        Exemplars(keys=["a", "b"], labels=[0], embeddings=torch.zeros(2, 3, 4))
