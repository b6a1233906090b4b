"""Metric learning of f_A: which keys, weights and labels a round reads."""

import pytest

from finepseudo.run_folder.done import Output
from finepseudo.run_folder.layout import ACCEPTED
from tests.jobs.pipeline.stages.one_stage import DRAWN, inputs, reads, stage

FIRST, LATER = "seed-0/round-00/frame_encoder", "seed-0/finepseudo/round-01/frame_encoder"


@pytest.mark.parametrize(
    ("key", "first", "later"),
    [
        ("frame_stage.loss.margin=0.2", True, True),
        ("frame_stage.train.steps=25", True, False),
        ("frame_stage.self_train.steps=7", False, True),
        ("frame_stage.train.optim.self_training_factor=0.5", False, False),
        ("frame_stage.self_train.optim.self_training_factor=0.5", False, True),
        ("frame_stage.train.log_every=1", False, False),
        ("frame_input.augment.flip=0.5", True, True),
        ("action_input.augment.flip=0.5", False, False),
        ("embed.gallery_per_class=2", False, False),
        ("method.finepseudo.theta=0.9", False, False),
        ("rounds=3", False, True),
    ],
)
def test_each_round_reads_its_own_keys(key, first, later):
    assert (reads(FIRST, key), reads(LATER, key)) == (first, later)


def test_it_goes_on_from_the_round_before_with_the_accepted_labels_alone():
    assert inputs(FIRST) == {**DRAWN, "weights": "pretrain/DONE.json"}
    assert inputs(LATER) == {
        **DRAWN,
        "weights": "seed-0/round-00/frame_encoder/DONE.json",
        "pseudo_labels": "seed-0/finepseudo/round-00/DONE.json",
    }
    assert stage(LATER).inputs["pseudo_labels"] == Output(stage(LATER).labels / "DONE.json", ACCEPTED)
