"""What the configuration of a run refuses, hashes and derives."""

import numpy as np
import pytest

from finepseudo.methods.base import TrainAction
from jobs.config.recipes import load
from jobs.config.run import flat_part
from jobs.config.training import TrainConfig
from shards.errors import UserError
from shards.read.sampling import frame_indices


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nme=x", r"nme: unknown key; did you mean name\?"),
        ("frame_stage.loss.margn=1", r"frame_stage.loss.margn: unknown key; did you mean frame_stage.loss.margin\?"),
        ("frame_stage.loss.margin=wide", "frame_stage.loss.margin = wide: must be a number"),
        ("seeds=1", "seeds = 1: must be a list"),
        ("methods=5", "methods = 5: must be a list"),
        ("methods=collaborative", "methods: collaborative is called finepseudo now"),
        ("strategies=confidence", r"is called methods now; write methods=\[pseudo_label\]"),
        ("strategies=5", "strategies: is called methods now"),
        ("method.finepseudo.bar=calibrated", "bar = calibrated: needs held-out labelled clips; set split.held_out"),
        ("methods=[finepsuedo]", r"no method is called finepsuedo; did you mean finepseudo\?"),
        ("methods=[collaborative]", "methods: collaborative is called finepseudo now"),
        ("strategies=[confidence, supervised]", r"is called methods now; write methods=\[pseudo_label, supervised\]"),
        ("pseudo_labels.uncertainty_kappa=1", "each method has its own keys now; set method.ups.kappa"),
        ("method.finepseudo.theta=1.5", r"method.finepseudo.theta = 1.5: must be in \[0, 1\) with fuse mean"),
        ("method.finepseudo.thta=1", r"method.finepseudo.thta: unknown key; did you mean method.finepseudo.theta\?"),
        ("resources.workers=3", "pretrain.order.batch_size = 8: must be a multiple of resources.workers, 3"),
        ("resources.workers=all", "resources.workers = all: must be a whole number or auto"),
        (
            "resources={workers: auto, parallel_encoders: true}",
            "resources.parallel_encoders = true: needs a number of workers for each of them; set resources.workers",
        ),
        (
            "action_stage.self_train={epochs: 3, clips: 9}",
            "self_train.steps = null: with epochs 3 and clips 9; set exactly",
        ),
        ("pretrain.train.epochs=3", "pretrain.train.steps = 12: with epochs 3 and clips null; set exactly one"),
        ("name=a/b", "name = a/b: must be a plain folder name"),
        ("name=..", r"name = \.\.: must be a plain folder name"),
        ('name="a\\0b"', "must be a plain folder name"),
        ("rounds", "write it as section.key=value"),
        ("rounds=[", "the value is no YAML"),
        ('name="x\\u0085y"', r"name = x\\x85y: must be a plain folder name"),
        ("reading.thread=2", r"reading.thread: unknown key; did you mean reading.threads\?"),
        ("method.fixmatch.mu=1e9", r"method.fixmatch.mu = 1000000000.0: must be in \(0, 100\]"),
        ("data.lists.tset=x", "data.lists.tset = x: no such role"),
        (
            "action_input.sampling={policy: groups, frames: 8, groups: [2, 2, 4]}",
            "action_input.sampling.policy = groups",
        ),
        ("frame_input.sampling={policy: gitdl, frames: 16}", "frame_input.sampling.policy = gitdl"),
        ("data.name=imagenet", "data.name = imagenet: must be one of csv, diving48"),
        ("data.cut_from=clip", "data.cut_from = clip: must be one of element, event, video"),
        ("reading.decode=mixed", "reading.decode = mixed: must be one of auto, dali-gpu, dali-cpu, pyav, dali[+]pyav"),
        ("reading.threads=0", "reading.threads = 0: must be at least 1; the default is auto"),
        ("reading.max_bad_fraction=2", r"reading.max_bad_fraction = 2.0: must be in \[0, 1\]"),
        ("resources.cpus_per_worker=-1", "resources.cpus_per_worker = -1.0: must be above 0"),
        ("evaluate.crops=true", "evaluate.crops = true: must be one of 1, 3"),
        ("evaluate.crops=1.0", "evaluate.crops = 1.0: must be one of 1, 3"),
        (
            "frame_stage.train.steps=null",
            "frame_stage.train.steps = null: with epochs null and clips null; set exactly one",
        ),
        ("evaluate.stride=0", "evaluate.stride = 0: must be at least 1; the default is null"),
        ("seeds=[0, 0]", r"seeds = \[0, 0\]: must be one or more different ones"),
        ("frame_stage.train.optim.lr=-1e-4", "frame_stage.train.optim.lr = -0.0001: must be above 0"),
        ("frame_stage.train.optim.lr=.nan", "frame_stage.train.optim.lr = nan: must be above 0"),
        ("action_input.augment.mean=[0, .inf, 0]", r"action_input.augment.mean = \[0.0, inf, 0.0\]: must be in"),
        ("resources.parallel_encoders=maybe", "resources.parallel_encoders = maybe: must be true or false or auto"),
        ("action_input.sampling.views=3", "action_input.sampling.views = 3"),
    ],
)
def test_bad_values_are_refused_with_key_and_way_out(override, message):
    with pytest.raises(UserError, match=message) as caught:
        load("smoke", [override])
    assert "\n" not in str(caught.value)


def test_a_name_may_look_like_a_date():
    assert [load("smoke", [f"name={text}"]).name for text in ("2024-01-01", "2020-13-45")] == [
        "2024-01-01",
        "2020-13-45",
    ]


@pytest.mark.parametrize("name", ["diving48", "finegym99", "finegym288", "finediving", "ssv2", "kinetics400"])
def test_rounds_are_five_epochs_in_which_each_clip_comes_once(name):
    cfg = load(name)
    for train in (cfg.frame_stage.self_train, cfg.action_stage.self_train):
        assert (train.epochs, train.steps, train.optim.warmup_epochs) == (5, None, 0.5)
    assert cfg.action_stage.self_order.sampler == "shuffle"
    assert (cfg.frame_stage.order.sampler, cfg.frame_stage.order.max_repeats) == ("balanced", 4)
    assert cfg.pretrain.input.augment.blur == (0.0 if name.startswith("finegym") else 0.4)


@pytest.mark.parametrize(("key", "value", "steps"), [("steps", 9, 9), ("epochs", 3, 30), ("clips", 65, 3)])
def test_a_budget_in_steps_epochs_or_clips_is_so_many_steps(key, value, steps):
    train = TrainConfig(**{key: value}).in_steps(10, 32)
    assert (train.steps, train.epochs, train.clips) == (steps, None, None)
    assert train.in_steps(1, 1, times=2).steps == 2 * steps


def test_clips_shared_out_by_the_clock_are_no_deterministic_run():
    assert load("smoke", ["reading.decode=dali+pyav", "deterministic=false"]).reading.decode == "dali+pyav"
    with pytest.raises(UserError, match=r"reading.decode = dali\+pyav: .*bits do not repeat; set it to auto, or "):
        load("smoke", ["reading.decode=dali+pyav", "deterministic=true"])


@pytest.mark.parametrize("deterministic", [False, True])
def test_every_reader_of_a_deterministic_run_repeats_bits(deterministic):
    cfg = load("smoke", [f"deterministic={str(deterministic).lower()}"])
    first = TrainAction(number=0, start=None)
    readers = [cfg.reader(cfg.frame_input.view()), *(reader for _, reader in cfg.streams_of(None, first))]
    assert {reader.repeatable for reader in readers} == {deterministic}


def test_silent_keys_do_not_reach_the_hash():
    base, other = load("smoke"), load("smoke", ["pretrain.train.log_every=1", "pretrain.train.checkpoint_every=1"])
    assert flat_part(base, ["pretrain"]) == flat_part(other, ["pretrain"])
    assert flat_part(base, ["pretrain"]) != flat_part(load("smoke", ["pretrain.loss.tau=0.2"]), ["pretrain"])


def test_what_a_stage_does_not_read_is_left_out_by_key_or_by_section():
    found = flat_part(load("smoke"), ["method.finepseudo.tau", "embed", "rounds"], ["embed.chunk"])
    assert found["method.finepseudo.tau"] == 0.05
    assert found["rounds"] == 1
    assert "embed.batch" in found and "embed.chunk" not in found
    assert flat_part(load("smoke"), ["pretrain"], ["pretrain.train.optim", "pretrain.input"]).keys() < {
        *flat_part(load("smoke"), ["pretrain"])
    }


@pytest.mark.parametrize("name", ["diving48", "finegym99", "finegym288", "finediving", "ssv2"])
def test_a_test_sees_as_much_of_a_video_as_training(name):
    cfg = load(name)
    views = frame_indices(160, cfg.test_input().sampling, None)
    trained = frame_indices(160, cfg.action_input.sampling, None)
    assert views.shape == (10, cfg.action_input.sampling.frames)
    assert ((views[:, -1] - views[:, 0]) == trained[0, -1] - trained[0, 0]).all()
    assert len(np.unique(views, axis=0)) == 10


def test_an_explicit_stride_of_the_test_and_a_dense_encoder_have_clips_of_that_stride():
    for recipe, overrides, stride in (
        ("diving48", [], 2),
        ("diving48_uniform", ["evaluate.stride=3"], 3),
        ("kinetics400", [], 8),
    ):
        views = frame_indices(160, load(recipe, overrides).test_input().sampling, None)
        assert (np.diff(views) == stride).all()
        assert len(views) == 10
