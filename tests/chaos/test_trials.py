"""A seeded handful of what `finepseudo bench chaos` draws for as long as one likes."""

import pytest

from jobs.bench.chaos.trials import Trials

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trials(tmp_path_factory) -> Trials:
    return Trials(tmp_path_factory.mktemp("chaos"), seed=7)


def test_undisturbed_runs_are_alike_but_for_what_tells_the_time(trials):
    assert {name for name in trials.whole.volatile if not name.endswith((".json", ".jsonl"))} <= {"report.html"}
    assert trials.whole.differences(trials.folder / "one") == []
    what = {reached.point.what.split(" ")[0] for reached in trials.reached}
    assert {"write", "rename", "mkdir", "remove", "collective:", "ray.train:", "ray.data:"} <= what
    assert {reached.point.role for reached in trials.reached} == {"driver", "rank 0", "rank 1"}


def test_struck_at_points_a_run_ends_as_the_undisturbed_one(trials):
    for kind, what in (
        ("kill", "rename smoke/seed-0/finepseudo/round-01/scores/part-"),
        ("kill", "collective: all_reduce"),
        ("full", "write smoke/seed-0/finepseudo/round-01/frame_encoder/checkpoints/step-"),
        ("usr1", "rename smoke/seed-0/finepseudo/round-01/embeddings/part-"),
    ):
        at = [reached for reached in trials.reached if reached.point.what.startswith(what)]
        trial = trials.strike(kind, at[-1], after=kind == "kill")
        assert trial.struck
        assert trial.problems == [], (kind, what)


def test_damaged_files_are_made_again_or_named(trials):
    trials.begin(float("inf"))
    for kind, name in (
        ("flip", "seed-0/finepseudo/round-01/scores/part-000001.parquet"),
        ("list", "seed-0/finepseudo/evaluation/DONE.json"),
        ("folder", "seed-0/finepseudo/round-01/pseudo_metrics.json"),
        ("zeros", "config.yaml"),
    ):
        assert trials.hurt(kind, name).problems == [], (kind, name)
