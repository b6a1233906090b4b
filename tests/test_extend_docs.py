"""The examples of docs/extend.md do what the page says of them, and the files it names are there."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.methods.base import Setting, TrainAction, flat
from finepseudo.methods.labelling import label_pool
from finepseudo.methods.table import METHODS
from finepseudo.run_folder import done
from finepseudo.training.config import CrossEntropyConfig
from jobs.config.recipes import load
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from shards.annotations.config import DatasetConfig
from shards.errors import UserError
from shards.settings import BadSetting
from tests.finepseudo.batches import clip_batch
from tests.small_run import write_small_run

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "extend.md").read_text()
BLOCKS = dict(re.findall(r"```python (\w+)\n(.*?)```", PAGE, flags=re.S))


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Import a block of the page as the module of that name."""
    monkeypatch.syspath_prepend(tmp_path)

    def imported(block, name):
        (tmp_path / f"{name}.py").write_text(BLOCKS[block])
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    yield imported
    METHODS.pop("entropy", None)


def test_a_data_set(example, tmp_path):
    swims = example("data", "example_swims")
    (tmp_path / "swims.txt").write_text("a.mp4 crawl train\nb.mp4 butterfly test\n")
    cfg = DatasetConfig(name="csv", root=str(tmp_path))
    found = swims.read(cfg)
    assert found.classes == ["butterfly", "crawl"]
    assert found.clips["label"].to_pylist() == [1, 0]
    assert found.clips["path"].to_pylist()[0] == str(tmp_path / "videos" / "a.mp4")
    assert swims.files(cfg) == [tmp_path / "swims.txt"]
    (tmp_path / "swims.txt").write_text("a.mp4 crawl train\nb.mp4 butterfly never\n")
    with pytest.raises(UserError, match=r"1 of 2 rows are bad: line 2.*the role is never"):
        swims.read(cfg)


def test_a_backbone(example):
    example("backbone", "my_nets")
    for variant in ("my_nets:MeanColour", "my_nets:Row"):
        encoder = build_action_encoder(ActionEncoderConfig(variant=variant, weights="random"), 5)
        assert encoder(torch.rand(2, 4, 3, 8, 8)).shape == (2, 5)


def test_published_weights_of_a_backbone(example, tmp_path):
    example("backbone", "my_nets")
    weight = torch.rand(16, 3)
    torch.save({"linear.weight": weight, "linear.bias": torch.zeros(16)}, tmp_path / "theirs.pt")
    cfg = ActionEncoderConfig(variant="my_nets:Row", weights=f"colours:{tmp_path / 'theirs.pt'}")
    assert torch.equal(build_action_encoder(cfg, 5).backbone.layer.weight, weight)
    assert cfg.expects.size == 112


def test_a_method(example):
    method = example("method", "example_margin").MARGIN
    cfg = method.config()
    p_e = np.array([[0.5, 0.4, 0.1], [0.8, 0.1, 0.1], [0.1, 0.2, 0.7]])
    table = label_pool(method, cfg, ["a", "b", "c"], None, p_e, np.zeros(3), [True, True, False])
    assert table["accepted"].to_pylist() == [False, True, False]
    assert table["label"].to_pylist() == [0, 0, -1]
    requests = flat(method.plan(cfg, 3, True))
    assert sum(r.times for r in requests if isinstance(r, TrainAction)) == 3
    assert method.keys_of("vote") == ("method.margin.theta",)
    assert method.keys_of("training") == ("method.margin.optim",)
    with pytest.raises(BadSetting, match="theta"):
        method.config(theta=1.0)


def test_a_method_with_an_objective_by_its_path(example):
    example("streams", "my_entropy")
    example("objective", "my_objectives")
    cfg = load("smoke", ["methods=[supervised, my_entropy:ENTROPY]", "method.entropy.mu=2"])
    method, request = METHODS["entropy"], TrainAction(number=1, start=0)
    shares = {stream.name: (stream.role, reader.order.batch_size) for stream, reader in cfg.streams_of(method, request)}
    assert shares == {"labelled": ("labelled", 8), "unlabelled": ("unlabelled", 16)}
    torch.manual_seed(0)  # of other weights the two entropies may be the same number
    encoder = build_action_encoder(ActionEncoderConfig(variant="tiny"), 3)
    setting = Setting(
        request=request,
        encoder=encoder,
        fresh=lambda: encoder,
        loss=CrossEntropyConfig(),
        n_classes=3,
        steps=1,
        seed=0,
    )
    objective = method.objective(cfg.method.entropy, setting).eval()
    labels = clip_batch(clips=4, size=32, invalid=[1])
    told = [objective({"labelled": labels, "unlabelled": clip_batch(clips=n, size=32, seed=n)}) for n in (3, 6)]
    assert told[0].metrics["train/entropy"] != told[1].metrics["train/entropy"]
    logits = encoder(labels.sound().frames[:, 0])
    plain = torch.nn.functional.cross_entropy(logits, labels.sound().labels)
    assert torch.allclose(told[0].loss, plain + 0.3 * told[0].metrics["train/entropy"])
    told[0].loss.backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_a_stage(example, tmp_path):
    folder = write_small_run(tmp_path / "runs" / "small")
    cfg = load("smoke", [f"out={folder.parent}", f"name={folder.name}"])
    run = Run(cfg, Reporter(folder, tensorboard=False))
    stage = example("stage", "example_roles").RolesStage(run_of=run, seed=0)
    assert not done.is_done(stage.identity)
    assert not done.begin(stage.identity)
    stage.run()
    done.finish(stage.identity, wall_s=0, code_version="x")
    assert done.is_done(stage.identity)
    run.paths.split(0).write_bytes(b"another")
    assert not done.is_done(stage.identity)


def test_the_files_that_the_page_names_are_there():
    named = re.findall(r"^\| `([\w/.]+)` \|", PAGE, flags=re.M)
    assert len(named) >= 8
    assert [name for name in named if not (REPOSITORY / name).exists()] == []
