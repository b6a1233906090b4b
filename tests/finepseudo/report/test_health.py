"""Alarms from records alone: each rings when and only when it should."""

import pytest

from finepseudo.report.health import Records, health

CLASSES = [f"c{i}" for i in range(10)]


def labels(counts=(3,) * 10, **values):
    per_class = [{"class": c, "accepted": n} for c, n in zip(CLASSES, counts, strict=True)]
    good = {"accepted": sum(counts), "coverage": 0.4, "agreement": 0.8, "precision": 0.9, "expected_precision": 0.92}
    return (0, "finepseudo", 1, {**good, "expected_from": "confidence", "per_class": per_class, **values})


def line(**values):
    return {"seed": 0, "method": None, "round": 0, "stage": "action_encoder", "step": 9, "steps": 9, **values}


def said(*lines, rounds=(), smoothing=0.0):
    return [(a.level, a.text) for a in health(Records(lines=lines, labels=list(rounds), smoothing=smoothing))]


def test_a_sound_run_is_silent():
    frame = line(stage="frame_encoder", **{"train/same": 0.8, "train/different": 0.2, "train/loss": 3.0})
    assert said(line(**{"train/loss": 0.2}), frame, line(**{"align/score_monotone": 1.0}), rounds=[labels()]) == []


@pytest.mark.parametrize(
    ("lines", "rings"),
    [
        ([{"train/loss": 1.3}], True),
        ([{"train/loss": float("nan")}], True),
        ([{"train/loss": 1.3, "step": 5}], False),  # not the last step
        ([{"train/loss": 1.3, "step": 5}, {"train/loss": 0.3}], False),
        ([{"train/loss": 1.3, "stage": "pretrain"}], False),
        ([{"train/loss": 1.3, "method": "fixmatch"}], False),  # its loss holds more than labels
        ([{"train/loss": 1.3, "method": "finepseudo", "round": 2}], True),
    ],
)
def test_f_e_that_has_not_fitted_its_labels(lines, rings):
    found = said(*(line(**values) for values in lines))
    assert [text.startswith("f_E has not fitted its labels") for _, text in found] == [True] * rings
    if rings and lines[0].get("method"):
        assert "FinePseudo seed 0 round 2: 1.30" in found[0][1]


def test_smoothed_labels_have_a_loss_that_cannot_be_undercut():
    assert said(line(**{"train/loss": 0.9}))
    assert not said(line(**{"train/loss": 0.9}), smoothing=0.1)


@pytest.mark.parametrize(
    ("record", "level", "text"),
    [
        (labels((0,) * 10, accepted=0), "alarm", "no pseudo-label was accepted in seed 0 round 1"),
        (labels((3,) * 4 + (0,) * 6), "alarm", "only 4 of 10 classes have an accepted pseudo-label"),
        (labels((3,) * 5 + (0,) * 5), "note", "only 5 of 10 classes have an accepted pseudo-label"),
        (labels((30,) + (2,) * 9), "alarm", "collapse to one class: 62 % are c0 (seed 0 round 1)"),
        (labels(coverage=0.1), "alarm", "10 % accepted, 80 % labelled alike (seed 0 round 1). Lower the bar"),
        (labels(precision=0.8), "note", "92 % expected by confidence, 80 % right (seed 0 round 1)"),
    ],
)
def test_labels_that_do_not_serve(record, level, text):
    found = [entry for entry in said(rounds=[record]) if text in entry[1]]
    assert [entry[0] for entry in found] == [level]


@pytest.mark.parametrize(
    "record",
    [
        labels((18,) + (2,) * 9),  # half and less is a long tail
        labels(coverage=0.15),
        labels(coverage=0.1, agreement=0.5),
        labels(coverage=0.1, agreement=None),  # without f_A nobody agrees
        labels(precision=None),
        labels(expected_precision=None, precision=0.1),
    ],
)
def test_labels_at_the_edge_ring_nothing(record):
    assert said(rounds=[record]) == []


def test_an_f_s_that_rises_or_tells_nothing_apart_and_a_falling_precision():
    (rising,) = said(line(stage="scores", **{"align/score_monotone": 0.0}))
    (blind,) = said(line(stage="frame_encoder", **{"train/same": 0.5, "train/different": 0.49}))
    assert (rising[0], blind[0]) == ("alarm", "alarm")
    assert "does not fall" in rising[1]
    assert "hardly tells pairs" in blind[1]
    seed, method, _, record = labels(precision=0.7, expected_precision=None)
    fall = said(rounds=[labels(), (seed, method, 2, record)])
    assert "precision fell from 90.0 to 70.0 % (seed 0, round 2)" in fall[0][1]
