"""The steps of self-training, counted from the labels that other methods accepted; no training, no video."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finepseudo.run_folder.done import DONE
from finepseudo.run_folder.layout import PSEUDO_LABELS
from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan
from jobs.pipeline.stages.action_encoder import ActionEncoderStage
from jobs.pipeline.stages.base import Run
from jobs.pipeline.stages.budget import equal_steps
from jobs.pipeline.stages.training import Schedule
from jobs.progress import Reporter
from shards.read.config import OrderConfig, ReaderConfig
from shards.read.streams import StreamInput
from shards.types import ItemTable

EPOCHS = ["rounds=2", "seeds=[0]", "action_stage.self_train={epochs: 5}", "action_stage.self_order.batch_size=10"]


def run_of(folder: Path, methods: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """20 labelled clips and a pool of 100."""
    cfg = load("smoke", [f"out={folder}", f"methods=[{methods}]", *EPOCHS])
    roles = {"labelled": ["k"] * 20, "unlabelled": ["k"] * 100}
    monkeypatch.setattr(Run, "split", lambda self, seed: SimpleNamespace(keys=roles.__getitem__))
    return Run(cfg, Reporter(cfg.folder, tensorboard=False))


def accept(run: Run, method: str, number: int, count: int) -> None:
    folder = run.paths.round(0, method, number)
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"accepted": [i < count for i in range(100)]}), folder / PSEUDO_LABELS)


def trainings(run: Run) -> list[ActionEncoderStage]:
    stages = itertools.chain(*make_plan(run))
    return [stage for stage in stages if isinstance(stage, ActionEncoderStage) and stage.method]


def test_who_accepts_nothing_gets_the_steps_of_the_method_that_takes_the_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path, "supervised, pseudo_label, finepseudo", monkeypatch)
    for method, counts in (("pseudo_label", (30, 41)), ("finepseudo", (0, 50))):
        for number, count in enumerate(counts):
            accept(run, method, number, count)
    assert equal_steps(run, 0) == 5 * 5 + 5 * 7


def test_where_nobody_labels_a_third_of_the_pool_is_assumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert equal_steps(run_of(tmp_path, "supervised, fixmatch", monkeypatch), 0) == 2 * 5 * 6


def test_who_is_counted_comes_first_and_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path, "supervised, fixmatch, pseudo_label, finepseudo", monkeypatch)
    stages = trainings(run)
    assert [stage.method.name for stage in stages if stage.method][-2:] == ["supervised", "fixmatch"]
    wanted = {run.paths.round(0, m, n) / DONE for m in ("pseudo_label", "finepseudo") for n in range(2)}
    for stage in stages:
        assert stage.accounted == (stage.request.labels is None)
        assert (wanted <= set(stage.inputs.values())) == stage.accounted


def test_in_steps_nothing_is_counted(tmp_path: Path) -> None:
    cfg = load("smoke", [f"out={tmp_path}", "methods=[supervised, pseudo_label]"])
    stages = trainings(Run(cfg, Reporter(cfg.folder, tensorboard=False)))
    assert [stage.method.name for stage in stages if stage.method] == ["supervised", "pseudo_label"]
    assert not any(stage.accounted for stage in stages)


@pytest.mark.parametrize(
    ("budget", "accepted", "found"),
    [
        ({"epochs": 5}, 0, (10, 2)),
        ({"epochs": 5}, 300, (160, 32)),
        ({"steps": 950}, 0, (950, 2)),
        ({"steps": 950}, 300, (950, 2)),
        ({"clips": 95}, 300, (10, 2)),
    ],
)
def test_the_warm_up_does_not_follow_what_was_accepted(
    budget: dict[str, Any], accepted: int, found: tuple[int, int]
) -> None:
    """(steps of the round, steps that the warm-up counts as an epoch) of 20 labelled clips in batches of 10."""
    n = 20 + accepted
    items = ItemTable(keys=["k"] * n, labels=np.zeros(n, np.int32), pseudo=np.arange(n) >= 20)
    train = load("smoke", [f"action_stage.self_train={{{', '.join(f'{k}: {v}' for k, v in budget.items())}}}"])
    lead = StreamInput(items=items, reader=ReaderConfig(order=OrderConfig(batch_size=10)))
    made = Schedule(train=train.action_stage.self_train, part=1, parts=10).over(lead)
    assert (made.train.steps, made.epoch_steps) == found
    assert made.over(lead) == made
