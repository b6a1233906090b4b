"""ActorCutMix's row: the boxes it wants, and what is refused before anything runs."""

from __future__ import annotations

import pytest

from finepseudo.methods.actor_cutmix import ActorCutMixConfig, objective, ready
from finepseudo.methods.base import Setting, TrainAction
from finepseudo.training.config import CrossEntropyConfig
from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan, weight_problems
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from shards.errors import UserError
from tests.finepseudo.consistency.test_actors import ROWS
from tests.finepseudo.consistency.test_boxes import write


def problems(tmp_path, *words):
    cfg = load("smoke", [f"out={tmp_path}", "methods=[supervised, actor_cutmix]", "seeds=[0, 1]", *words])
    stages = [s for group in make_plan(Run(cfg, Reporter(cfg.folder, tensorboard=False))) for s in group]
    found = [s.identity.inputs for s in stages if s.kind == "action_encoder" and s.method]
    return list(weight_problems(cfg, stages)), found


def test_boxes_that_are_not_given_or_not_there_are_told_before_a_run(tmp_path):
    (said,), _ = problems(tmp_path)
    assert said.startswith("method.actor_cutmix.boxes = null: a file is needed; `finepseudo methods actor_cutmix`")
    (said,), _ = problems(tmp_path, "method.actor_cutmix.boxes=nowhere.csv")
    assert said == "method.actor_cutmix.boxes: nowhere.csv is not there; give the path of the file"


def test_a_changed_table_is_another_training(tmp_path):
    path = write(tmp_path / "boxes.csv", ROWS)
    said, inputs = problems(tmp_path, f"method.actor_cutmix.boxes={path}")
    assert not said
    assert [given.get("method.actor_cutmix.boxes") for given in inputs] == [None, path] * 2


def test_clips_of_which_the_table_says_nothing_are_one_line(tmp_path):
    cfg = ActorCutMixConfig(boxes=str(write(tmp_path / "boxes.csv", ROWS)))
    ready(cfg, ["clip0", "clip7"])
    with pytest.raises(UserError, match=r"boxes = .*boxes.csv: says nothing of 2 of 3 unlabelled clips, first x;"):
        ready(cfg, ["x", "clip3", "y"])


def test_labels_are_hard_or_sharpened(tmp_path):
    import torch

    path, p = str(write(tmp_path / "boxes.csv", ROWS)), torch.tensor([[0.6, 0.4]])
    made = Setting(
        request=TrainAction(number=1, start=0),
        encoder=torch.nn.Linear(1, 1),
        fresh=None,
        loss=CrossEntropyConfig(),
        n_classes=2,
        steps=4,
        seed=0,
    )
    assert objective(ActorCutMixConfig(boxes=path), made).parts.target(p).tolist() == [[1, 0]]
    soft = objective(ActorCutMixConfig(boxes=path, temperature=0.5), made).parts.target(p)
    torch.testing.assert_close(soft, torch.tensor([[0.36 / 0.52, 0.16 / 0.52]]))
