"""A plan in few lines: nothing is left out, and stages with another fate have a line of their own."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.config.recipes import load
from jobs.pipeline.folded import folded, spans
from jobs.pipeline.plan import make_plan
from jobs.pipeline.stages.base import Run
from jobs.pipeline.survey import StageState
from jobs.progress import Reporter


@dataclass(frozen=True)
class Named:
    """All that is read of a stage."""

    name: str


def state(name, word="to do", **about):
    return StageState(stage=Named(name), state=word, **about)


@pytest.mark.parametrize(
    ("numbers", "text"), [([0], "0"), ([0, 1], "0..1"), ([2, 0, 1, 5], "0..2,5"), ([1, 3, 4, 7], "1,3..4,7")]
)
def test_numbers_are_spans(numbers, text):
    assert spans(numbers) == text


def test_rounds_and_draws_of_one_fate_stand_in_one_line():
    rounds = [state(f"seed-{seed}/m/round-{n:02d}/embeddings") for seed in (0, 1) for n in (1, 2, 3)]
    assert list(folded([state("data"), *rounds, state("report")])) == [
        "to do    data",
        "to do    seed-0..1/m/round-01..03/embeddings  (6 stages)",
        "to do    report",
    ]


def test_another_state_or_reason_has_a_line_of_its_own_and_losses_are_summed():
    lost = [
        state(f"seed-0/round-{n:02d}/x", "undone", because=("a was 1, is 2",), size=400, wall_s=40.0) for n in (1, 2)
    ]
    other = state("seed-0/round-03/x", "undone", because=("files are missing",), size=1, wall_s=1.0)
    assert list(folded([*lost, other, state("seed-0/round-04/x")])) == [
        "undone   seed-0/round-01..02/x  (a was 1, is 2; 2 stages)  [1 min, 800 B]",
        "undone   seed-0/round-03/x  (files are missing)  [1 s, 1 B]",
        "to do    seed-0/round-04/x",
    ]


def test_draws_with_other_rounds_are_not_mixed():
    some = [state(f"seed-{seed}/round-{n:02d}/x") for seed, n in ((0, 1), (0, 2), (1, 2), (2, 2))]
    assert list(folded(some)) == [
        "to do    seed-0/round-01..02/x  (2 stages)",
        "to do    seed-1..2/round-02/x  (2 stages)",
    ]


def test_every_stage_of_a_large_plan_is_in_a_line(tmp_path):
    cfg = load("diving48", [f"out={tmp_path}"])
    run = Run(cfg, Reporter(Path(cfg.folder), tensorboard=False))
    stages = [stage for group in make_plan(run) for stage in group]
    lines = list(folded(StageState(stage=stage, state="to do") for stage in stages))
    counts = [re.search(r"\((\d+) stages\)", line) for line in lines]
    assert sum(int(found[1]) if found else 1 for found in counts) == len(stages) > 200
    assert len(lines) < 25
