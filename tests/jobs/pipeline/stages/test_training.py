"""The clips that a training reads, by role, and the labels it takes up."""

import errno
import json
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finepseudo.methods.base import TrainAction
from finepseudo.run_folder.done import DONE, Output
from finepseudo.run_folder.files import write_text
from finepseudo.run_folder.layout import ACCEPTED, CHECKPOINTS, LOG, WEIGHTS
from jobs.config.recipes import load
from jobs.config.training import TrainConfig
from jobs.pipeline.stages.action_encoder import ActionEncoderStage
from jobs.pipeline.stages.base import Run
from jobs.pipeline.stages.training import Schedule, items_of, labels_folder, labels_input, slowed
from jobs.progress import Reporter
from shards.errors import UserError
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split, write_split
from shards.types import NO_LABEL
from tests.shards.helpers import make

ROWS = [(f"c{label}_{i}", label, "test" if i == 4 else "train", "") for label in range(2) for i in range(5)]


@pytest.fixture
def run(tmp_path):
    """A run whose split is drawn: a labelled clip of each of two classes, three unlabelled, one test clip."""
    cfg = load("smoke", [f"out={tmp_path}"])
    made = Run(cfg, Reporter(cfg.folder, tensorboard=False))
    path = made.paths.split(0)
    path.parent.mkdir(parents=True)
    write_split(path, draw_split(make(ROWS), SplitConfig(per_class=1), 0))
    return made


def labels(folder, rows):
    folder.mkdir(exist_ok=True)
    table = pa.table({"key": pa.array(list(rows), pa.string()), "label": pa.array(list(rows.values()), pa.int32())})
    pq.write_table(table, folder / ACCEPTED)
    return folder


def test_each_role_is_its_clips_and_only_labelled_ones_carry_a_class(run):
    split = run.split(0)
    assert items_of(run, 0, "labelled", None).labels.tolist() == split.items("labelled").labels.tolist()
    pool, everything = items_of(run, 0, "unlabelled", None), items_of(run, 0, "all", None)
    assert list(pool.keys) == sorted(split.keys("unlabelled"))
    assert set(everything.keys) == set(split.keys("unlabelled")) | set(split.keys("labelled"))
    assert set(pool.labels) | set(everything.labels) == {NO_LABEL}
    assert not set(everything.keys) & set(split.keys("test"))


def test_accepted_labels_stand_behind_the_true_ones(run, tmp_path):
    first = sorted(run.split(0).keys("unlabelled"))[0]
    items = items_of(run, 0, "labelled", labels(tmp_path / "round", {first: 1}))
    assert (items.keys[-1], items.labels[-1], items.pseudo.tolist()) == (first, 1, [False, False, True])
    known = run.split(0).keys("labelled")[0]
    with pytest.raises(UserError, match="is a labelled clip and has a pseudo-label"):
        items_of(run, 0, "labelled", labels(tmp_path / "round", {known: 1}))


def test_a_training_keeps_what_it_goes_on_from_until_its_numbers_are_copied(run, monkeypatch):
    stage = ActionEncoderStage(run_of=run, seed=0, method=None, request=TrainAction(number=0, start=None))

    def fit(job, *_, tidied):
        (job.loop.folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        write_text(job.loop.folder / WEIGHTS, "")
        write_text(job.loop.folder / LOG, json.dumps({**stage.tags, "step": 1, "train/loss": 1.0}) + "\n")
        assert not tidied

    def train():
        stage.fit(Schedule(train=TrainConfig(steps=1), epoch_steps=1), {"labelled": None}, lambda: None, "fp32")

    monkeypatch.setattr("jobs.workers.train.fit", fit)
    with monkeypatch.context() as full, pytest.raises(OSError, match="No space"):
        full.setattr(Reporter, "scalars", refused := Mock(side_effect=OSError(errno.ENOSPC, "No space left")))
        train()
    assert refused.called
    assert (stage.folder / CHECKPOINTS).is_dir()
    train()
    assert not (stage.folder / CHECKPOINTS).exists()
    assert (stage.folder / WEIGHTS).is_file()


def test_a_plain_training_reads_the_accepted_labels_and_an_objective_all(run, tmp_path):
    assert labels_folder(run, 0, None, None) is None
    assert labels_input(None) == {}
    assert labels_input(tmp_path) == {"pseudo_labels": Output(tmp_path / DONE, ACCEPTED)}
    assert labels_input(tmp_path, whole=True) == {"pseudo_labels": tmp_path / DONE}


def test_self_training_is_slower_by_its_factor():
    train = TrainConfig(steps=3)
    assert slowed(train).optim.lr == train.optim.lr * train.optim.self_training_factor
