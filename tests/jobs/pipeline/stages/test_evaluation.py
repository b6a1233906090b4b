"""The test of a method: f_E of its last round, and f_A where it shows pairs."""

import pytest

from tests.jobs.pipeline.stages.one_stage import config, inputs, reads, stage

NAME, PLAIN = "seed-0/finepseudo/evaluation", "seed-0/supervised/evaluation"


@pytest.mark.parametrize(
    ("key", "both", "plain"),
    [
        ("evaluate.views=3", True, True),
        ("action_input.augment.size=48", True, True),
        ("frame_stage.loss.gamma=0.01", True, False),
        ("frame_stage.loss.omega=0", True, False),
        ("frame_input.augment.size=48", True, False),
        ("action_encoder.mc_passes=3", False, False),
        ("action_encoder.dropout=0.2", True, True),
        ("method.finepseudo.theta=0.9", False, False),
        ("resources.embed_actors=2", False, False),
    ],
)
def test_what_a_prediction_and_a_shown_pair_depend_on_counts(key, both, plain):
    assert (reads(NAME, key), reads(PLAIN, key)) == (both, plain)


def test_the_last_round_is_tested():
    assert inputs(NAME, "rounds=3")["action_encoder"] == "seed-0/finepseudo/round-03/action_encoder/DONE.json"
    assert inputs(NAME, "rounds=0")["action_encoder"] == "seed-0/round-00/action_encoder/DONE.json"
    assert "frame_encoder" not in inputs(PLAIN)
    assert "examples.npz" in stage(NAME).outputs
    assert "examples.npz" not in stage(PLAIN).outputs


def test_where_weights_came_from_is_no_matter_of_the_test():
    assert not {key for key in config(NAME) if key.endswith("_encoder.weights")}
