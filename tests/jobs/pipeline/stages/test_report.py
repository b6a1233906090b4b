"""The report stands on every test and every table of pseudo-labels that it shows, and on nothing else."""

from tests.jobs.pipeline.stages.one_stage import inputs, reads

TESTS = {f"seed-0/{name}" for name in ("supervised/evaluation", "finepseudo/evaluation", "finepseudo/votes")}


def test_it_reads_all_tests_and_labels():
    labels = {f"seed-0/finepseudo/round-{number:02d}" for number in (0, 1)}
    assert set(inputs("report")) == TESTS | labels
    assert set(inputs("report", "embed.last_round=false")) == TESTS | {"seed-0/finepseudo/round-00"}
    assert set(inputs("report", "methods=[supervised]")) == {"seed-0/supervised/evaluation"}


def test_it_reads_no_key():
    assert not reads("report", "evaluate.views=3", "name=other", "resources.workers=2")
