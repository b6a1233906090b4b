"""Recipes, overrides and refusals."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.config import RECIPES, from_yaml, load, parse_override, part, read_recipe, to_yaml
from jobs.typed import build, merge, plain, set_dotted
from shards.errors import UserError
from shards.read.sampling import frame_indices


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)
    mode: Literal["a", "b"] = "a"


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner = dataclasses.field(default_factory=Inner)
    count: int | None = None
    flag: bool = False


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_recipe_is_valid_and_survives_its_own_yaml(name, tmp_path):
    cfg = load(name)
    (tmp_path / "config.yaml").write_text(to_yaml(cfg))
    assert from_yaml(tmp_path / "config.yaml") == cfg


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nme=x", r"unknown key 'nme'; did you mean 'name'\?"),
        ("frame_stage.loss.margn=1", r"unknown key 'frame_stage.loss.margn'; did you mean 'margin'\?"),
        ("frame_stage.loss.margin=wide", "frame_stage.loss.margin: float is needed, got 'wide'"),
        ("seeds=1", "seeds: a list is needed"),
        ("strategies=[colaborative]", "'colaborative' is not one of"),
        ("pseudo_labels.theta=1.5", "theta 1.5 must lie in"),
        ("resources.workers=3", "is no multiple of resources.workers 3"),
        ("action_stage.self_train={epochs: 3}", "action_stage.self_train: set steps, not epochs"),
        ("pretrain.train.epochs=3", "pretrain.train: steps 12 and epochs 3: set exactly one of them"),
        ("name=a/b", "must be a plain folder name"),
        ("rounds", "write it as section.key=value"),
        ("rounds=[", "the value is no YAML"),
        ("data.lists.tset=x", "lists.tset: no such role"),
        ("pseudo_labels.strategy=verification", "pseudo_labels.strategy verification does nothing in a run: name it"),
        (
            "action_input.sampling={policy: groups, frames: 8, groups: [2, 2, 4]}",
            "action_input.sampling: policy groups",
        ),
        ("frame_input.sampling={policy: gitdl, frames: 16}", "frame_input.sampling: policy gitdl with 1 views"),
        ("action_input.sampling.views=3", "action_input.sampling: policy uniform with 3 views"),
    ],
)
def test_bad_values_are_refused_with_key_and_way_out(override, message):
    with pytest.raises(UserError, match=message) as caught:
        load("smoke", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "labels", "pool"),
    [
        ("diving48", 1524, 13503),
        ("finegym99", 2094, 18390),
        ("finegym288", 2423, 20248),
        ("finediving", 251, 1999),
        ("ssv2", 8210, 73453),
        ("kinetics400", 24000, 216000),
    ],
)
def test_rounds_are_five_epochs_of_labels_and_a_third_of_the_pool(name, labels, pool):
    cfg = load(name)
    clips = 5 * (labels + pool * 4558 / 13503)
    for train, order in (
        (cfg.frame_stage.self_train, cfg.frame_stage.order),
        (cfg.action_stage.self_train, cfg.action_stage.self_order),
    ):
        assert train.steps * order.batch_size == pytest.approx(clips, rel=0.05)
    assert cfg.pretrain.input.augment.blur == (0.0 if name.startswith("finegym") else 0.4)


RGB = ["action_input.augment.channels=rgb", "action_input.augment.mean=[.43, .39, .38]"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["action_encoder.init=tclr", "action_encoder.layer4=tclr"], None),
        (["action_encoder.init=kinetics_sup", *RGB], None),
        (["frame_encoder.init=byol"], None),
        (
            ["action_encoder.init=tclr", "action_encoder.layer4=tclr", "action_input.augment.std=[.2, .2, .2]"],
            r"action_input.augment: channels bgr, .*weights of init tclr expect BGR in \[0, 1\]: channels bgr, mean",
        ),
        (["action_encoder.init=tclr", "action_encoder.layer4=tclr", *RGB], "action_input.augment: channels rgb"),
        (["action_encoder.init=kinetics_sup"], "weights of init kinetics_sup expect normalised RGB: channels rgb"),
        (["action_encoder.init=kinetics_sup", RGB[0]], r"action_input.augment: channels rgb, mean \[0.0, 0.0, 0.0\]"),
        (["frame_encoder.init=byol", "frame_input.augment.channels=bgr"], "frame_input.augment: channels bgr"),
        (["frame_encoder.init=imagenet_sup", "pretrain.input.augment.mean=[0, 0, 0]"], "pretrain.input.augment"),
    ],
)
def test_weights_get_the_pictures_they_were_trained_on(overrides, message):
    given = [*overrides, f"{overrides[0].split('.')[0]}.weights=/some/file.pt"]
    if message is None:
        load("diving48", given)
        return
    with pytest.raises(UserError, match=message):
        load("diving48", given)


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'smoke'"):
        load("smokey")


def test_bases_are_laid_over_each_other_and_may_not_come_back(tmp_path):
    (tmp_path / "a.yaml").write_text("base: smoke\nrounds: 3\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\nsplit: {ratio: 0.5}\n")
    values = read_recipe(str(tmp_path / "b.yaml"))
    assert values["rounds"] == 3
    assert values["split"]["ratio"] == 0.5
    assert values["data"]["name"] == "synthetic_diving"

    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    with pytest.raises(UserError, match="comes back to itself: a -> b -> a"):
        read_recipe(str(tmp_path / "a.yaml"))


def test_overrides_win_over_the_recipe_and_yaml_11_floats_are_floats():
    cfg = load("smoke", ["frame_stage.train.optim.lr=3e-4", "seeds=[4, 5]", "frame_encoder.heads=null"])
    assert cfg.frame_stage.train.optim.lr == 3e-4
    assert cfg.seeds == (4, 5)
    assert cfg.frame_encoder.heads is None


def test_silent_keys_do_not_reach_the_hash():
    base, other = load("smoke"), load("smoke", ["pretrain.train.log_every=1", "pretrain.train.checkpoint_every=1"])
    assert part(base, "pretrain") == part(other, "pretrain")
    assert part(base, "pretrain") != part(load("smoke", ["pretrain.loss.tau=0.2"]), "pretrain")


def test_types_are_checked_not_guessed():
    assert build(Outer, {"name": 3, "inner": {"sizes": [1]}}) == Outer(name="3", inner=Inner(sizes=(1,)))
    for values, message in [
        ({}, "name: a value is needed"),
        ({"name": "x", "count": 1.5}, "count: int is needed, got 1.5"),
        ({"name": "x", "count": True}, "count: int is needed, got True"),
        ({"name": "x", "flag": "yes"}, "flag: bool is needed"),
        ({"name": "x", "inner": 3}, "inner: a mapping is needed"),
        ({"name": "x", "inner": {"mode": "c"}}, "inner.mode: 'c' is not one of 'a', 'b'"),
        ({"name": "x", "inner": {"sizes": [1, "b"]}}, r"inner.sizes\[1\]: int is needed"),
    ]:
        with pytest.raises(UserError, match=message):
            build(Outer, values)


@pytest.mark.parametrize("name", ["diving48", "finegym99", "finegym288", "finediving", "ssv2"])
def test_a_test_sees_as_much_of_a_video_as_training(name):
    cfg = load(name)
    views = frame_indices(160, cfg.test_input().sampling, None)
    trained = frame_indices(160, cfg.action_input.sampling, None)
    assert views.shape == (10, cfg.action_input.sampling.frames)
    assert ((views[:, -1] - views[:, 0]) == trained[0, -1] - trained[0, 0]).all()
    assert len(np.unique(views, axis=0)) == 10


def test_the_papers_literal_sum_serves_every_strategy():
    every = "strategies=[supervised, confidence, uncertainty, verification, collaborative]"
    cfg = load("smoke", ["pseudo_labels.fuse=sum", "pseudo_labels.theta=1.2", every])
    bars = {strategy: cfg.labels(strategy).bar for strategy in cfg.strategies[1:]}
    assert bars == {"confidence": 0.6, "uncertainty": 0.6, "verification": 0.6, "collaborative": 1.2}


def test_an_explicit_stride_of_the_test_and_a_dense_encoder_have_clips_of_that_stride():
    for recipe, overrides, stride in (("diving48", ["evaluate.stride=2"], 2), ("kinetics400", [], 8)):
        views = frame_indices(160, load(recipe, overrides).test_input().sampling, None)
        assert (np.diff(views) == stride).all()
        assert len(views) == 10


trees = st.recursive(
    st.integers() | st.booleans() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
sections = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


def oracle(base, over):
    """Merge by paths: every leaf of `over` replaces what lay at or below its path."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {k: oracle(base[k], over[k]) if k in base and k in over else (over | base)[k] for k in base | over}


@given(base=sections, over=sections)
def test_merge_against_an_oracle(base, over):
    before = repr(base), repr(over)
    assert merge(base, over) == oracle(base, over)
    assert (repr(base), repr(over)) == before, "nothing given is changed"


@given(values=sections, path=st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
def test_a_dotted_key_is_found_again(values, path):
    made = dict(values)
    set_dotted(made, ".".join(path), "leaf")
    inner = made
    for name in path:
        inner = inner[name]
    assert inner == "leaf"
    assert set(made) == set(values) | {path[0]}


def test_plain_turns_paths_and_tuples_into_yaml():
    assert plain({"a": (1, Path("x")), "b": Inner()}) == {
        "a": [1, "x"],
        "b": {"rate": 0.1, "sizes": [1, 2], "mode": "a"},
    }


def test_an_override_needs_a_key():
    assert parse_override("a.b=[1, x]") == ("a.b", [1, "x"])
    assert parse_override("a=") == ("a", None)
