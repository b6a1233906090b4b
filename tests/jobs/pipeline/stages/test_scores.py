"""Alignment of the pool: all that changes a distance or a score counts, the training of f_A by its weights alone."""

import pytest

from tests.jobs.pipeline.stages.one_stage import DRAWN, inputs, reads

NAME = "seed-0/round-00/scores"


@pytest.mark.parametrize(
    ("key", "read"),
    [
        ("embed.gallery_per_class=2", True),
        ("embed.gallery_dtype=float16", True),
        ("frame_stage.loss.gamma=0.01", True),
        ("frame_stage.loss.omega=0", True),  # f_S is not learned then
        ("frame_stage.scorer.momentum=0.5", False),
        ("frame_stage.loss.margin=0.3", False),
        ("frame_stage.train.steps=25", False),
        ("embed.batch=4", False),
        ("resources.score_actors=3", False),
    ],
)
def test_what_a_score_depends_on_counts(key, read):
    assert reads(NAME, key) == read


def test_it_reads_embeddings_and_f_s_of_its_round():
    rounds = {"seed-0/round-00": "seed-0/round-00", "seed-0/finepseudo/round-01": "seed-0/finepseudo/round-01"}
    for where, folder in rounds.items():
        made = {name: f"{folder}/{name}/DONE.json" for name in ("embeddings", "frame_encoder")}
        assert inputs(f"{where}/scores") == {**DRAWN, **made}
