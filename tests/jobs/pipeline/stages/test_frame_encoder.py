"""Metric learning of f_A: which keys, weights and labels a round reads."""

import pytest
import torch

from finepseudo.run_folder.done import Output
from finepseudo.run_folder.layout import ACCEPTED, WEIGHTS
from finepseudo.training.checkpoint import load_weights, save_weights
from jobs.workers.models import gitdl, trained_scorer
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
        ("frame_stage.loss.distance=otam", True, True),
        ("frame_stage.skip=true", True, True),
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


def test_without_metric_learning_f_a_stays_as_it_was_and_the_score_is_not_learned(tmp_path):
    """Table 5 (c): whatever metric learning would be trained with changes nothing."""
    skipped = "frame_stage.skip=true"
    assert stage(FIRST, skipped).identity.config == stage(FIRST, skipped, "frame_stage.loss.margin=0.3").identity.config
    before = gitdl(stage(FIRST).cfg, 0).state_dict()
    made = stage(FIRST, skipped, f"out={tmp_path}")
    made.before.mkdir(parents=True)
    save_weights(made.before / WEIGHTS, before, {})
    made.run()
    after = load_weights(made.folder / WEIGHTS)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    score = trained_scorer(made.cfg, made.folder / WEIGHTS)
    torch.testing.assert_close(score(torch.tensor([0.5, 2.0])), torch.exp(-torch.tensor([0.5, 2.0])))
