"""The vote of a method: its own keys alone, and the numbers of its round."""

import pytest

from finepseudo.run_folder.layout import ACCEPTED, PSEUDO_LABELS
from tests.jobs.pipeline.stages.one_stage import DRAWN, inputs, reads, stage

NAME = "seed-0/finepseudo/round-00/pseudo_labels"
ALL = "methods=[pseudo_label, finepseudo]"


@pytest.mark.parametrize(
    ("key", "read"),
    [
        ("method.finepseudo.theta=0.9", True),
        ("method.finepseudo.tau=0.3", True),
        ("method.pseudo_label.theta=0.9", False),
        ("action_encoder.mc_passes=3", False),
        ("rounds=2", False),
    ],
)
def test_only_keys_of_the_method_count(key, read):
    assert reads(NAME, key) == read


def test_it_lies_beside_the_rounds_of_its_method_and_reads_what_all_share():
    found = stage(NAME)
    assert found.folder.as_posix().endswith("seed-0/finepseudo/round-00")
    assert {PSEUDO_LABELS, ACCEPTED} < set(found.outputs)
    shared = {name: f"seed-0/round-00/{name}/DONE.json" for name in ("embeddings", "scores")}
    assert inputs(NAME) == {**DRAWN, **shared}
    assert inputs("seed-0/pseudo_label/round-00/pseudo_labels", ALL) == {**DRAWN, "embeddings": shared["embeddings"]}
