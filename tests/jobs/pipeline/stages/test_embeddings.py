"""Embedding: the networks and what they see, with f_A only where a vote needs it."""

import pytest

from tests.jobs.pipeline.stages.one_stage import DRAWN, config, inputs, reads

NAME = "seed-0/round-00/embeddings"
BOTH = {**DRAWN, "action_encoder": "seed-0/round-00/action_encoder/DONE.json"}


@pytest.mark.parametrize(
    ("key", "read"),
    [
        ("action_encoder.mc_passes=3", True),
        ("frame_input.augment.size=48", True),
        ("action_input.augment.size=48", True),
        ("embed.chunk=4", True),
        ("embed.gallery_per_class=2", False),
        ("embed.last_round=false", False),
        ("action_stage.train.steps=31", False),
        ("resources.embed_actors=2", False),
        ("reading.prefetch=0", False),
        ("reading.decode=pyav", True),
    ],
)
def test_what_a_network_is_and_sees_counts(key, read):
    assert reads(NAME, key) == read


def test_both_encoders_are_read_where_the_vote_aligns():
    assert inputs(NAME) == {**BOTH, "frame_encoder": "seed-0/round-00/frame_encoder/DONE.json"}
    assert inputs(NAME, "methods=[pseudo_label]") == BOTH
    alone = "methods=[pseudo_label]"
    assert config(NAME, alone, "frame_input.augment.size=48") == config(NAME, alone)
