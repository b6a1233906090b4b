"""Frames follow from the weights; what contradicts them is refused, and so are the old keys."""

import re

import pytest

from jobs.config.expected_input import weight_problem
from jobs.config.recipes import from_yaml, load, to_yaml
from shards.errors import UserError

TCLR, KINETICS = "action_encoder.weights=tclr:/some/file.pt", "action_encoder.weights=kinetics_sup:/some/file.pt"
BYOL = "frame_encoder.weights=byol:/some/file.pt"


def look(cfg, section="action_input"):
    inputs = cfg.pretrain.input if section == "pretrain" else getattr(cfg, section)
    return inputs.augment


def test_channels_and_normalisation_follow_from_the_weights():
    raw = look(load("diving48", [TCLR]))
    assert (raw.channels, raw.mean, raw.std) == ("bgr", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    normal = look(load("diving48", [KINETICS]))
    assert (normal.channels, normal.mean[0], normal.std[0]) == ("rgb", 0.43216, 0.22803)


def test_size_and_frames_follow_where_the_recipe_leaves_them_out():
    cfg = load("smoke", ["action_encoder.variant=aim_b16", "action_encoder.weights=clip:/x.pt", "action_input={}"])
    assert (cfg.action_input.augment.size, cfg.action_input.sampling.frames) == (224, 32)
    cfg = load("smoke", ["action_encoder.variant=r3d_18", "action_encoder.weights=random", "action_input={}"])
    assert (cfg.action_input.augment.size, cfg.action_input.sampling.frames) == (112, 16)
    dense = [
        "action_encoder.variant=slow_r50",
        "action_encoder.weights=random",
        "action_input={sampling: {policy: dense}}",
    ]
    sampling = load("smoke", dense).action_input.sampling
    assert (sampling.frames, sampling.stride) == (8, 8)


def test_pre_training_keeps_carls_augmentation(tmp_path):
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        "data: {name: synthetic_diving}\nframe_encoder: {variant: vtn_clip_b, weights: 'clip:/x.pt'}\n"
        "action_encoder: {weights: random}\n"
    )
    augment = look(load(str(recipe)), "pretrain")
    assert (augment.jitter, augment.gray, augment.mean[0]) == (0.8, 0.2, 0.48145466)


def test_a_stored_configuration_is_read_back_as_it_is(tmp_path):
    cfg = load("diving48", [TCLR, BYOL])
    (tmp_path / "config.yaml").write_text(to_yaml(cfg))
    assert from_yaml(tmp_path / "config.yaml") == cfg


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [TCLR, "action_input.augment.std=[.2, .2, .2]"],
            r"action_input.augment.std = \[0.2, 0.2, 0.2\]: weights tclr expect BGR in \[0, 1\]: channels bgr, mean",
        ),
        ([TCLR, "action_input.augment.channels=rgb"], "action_input.augment.channels = rgb: weights tclr expect"),
        (
            [KINETICS, "action_input.augment.mean=[0, 0, 0]"],
            r"mean = \[0.0, 0.0, 0.0\]: weights kinetics_sup expect normalised RGB: channels rgb",
        ),
        ([BYOL, "frame_input.augment.channels=bgr"], "frame_input.augment.channels = bgr"),
        ([BYOL, "pretrain.input.augment.mean=[0, 0, 0]"], "pretrain.input.augment.mean = .*leave these keys out"),
        (
            ["action_encoder.variant=aim_b16", "action_encoder.weights=clip:/x.pt"],
            "action_input.augment.size = 112: weights clip takes 224; set it to that",
        ),
        (
            ["action_encoder.variant=timesformer_b", "action_encoder.weights=random", "action_input.augment.size=224"],
            "action_input.sampling.frames = 16: variant timesformer_b takes 8; set it to that",
        ),
    ],
)
def test_what_contradicts_the_weights_is_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        load("diving48", overrides)


@pytest.mark.parametrize("override", ["action_input=5", "action_input=", "frame_input.augment=x", "pretrain=[1]"])
def test_what_is_no_section_is_refused_as_ever(override):
    with pytest.raises(UserError, match=f"{override.partition('=')[0]} = .*must be a section"):
        load("diving48", [override])


def test_an_alias_in_a_recipe_does_not_mix_the_inputs_of_the_encoders(tmp_path):
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        "data: {name: synthetic_diving}\nframe_input: &look {augment: {flip: 0.0}}\naction_input: *look\n"
    )
    cfg = load(str(recipe), [TCLR, BYOL])
    assert (cfg.action_input.augment.channels, cfg.frame_input.augment.channels) == ("bgr", "rgb")
    assert (cfg.action_input.augment.size, cfg.frame_input.augment.size) == (112, 224)


def test_a_random_start_may_look_at_anything():
    load("diving48", ["action_encoder.weights=random", "action_input.augment.channels=bgr"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "action_encoder.init=tclr",
            "action_encoder.init is no key any more: weights says it all, as weights=tclr:FILE",
        ),
        ("frame_encoder.init=byol", "frame_encoder.init is no key any more"),
        ("action_encoder.layer4=tclr", "action_encoder.layer4 is no key any more: .*comes with tclr:FILE"),
        (
            "action_encoder.weights=/data/k400.pth",
            "takes kinetics_sup:FILE, tclr:FILE, tclr .*, run:PATH of a finished run or random",
        ),
    ],
)
def test_old_keys_are_refused_with_the_new_spelling(override, message):
    with pytest.raises(UserError, match=message):
        load("diving48", [override])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("byol:{0}/nothing.pth", r"nothing\.pth is not there; give the path of a checkpoint"),
        ("byol:{0}", "is a folder; give the path of a checkpoint"),
        ("run:{0}/nothing", "nothing is not there; give the folder of a run that has been pre-trained"),
        ("run:{0}", "holds no pre-trained encoder; give the folder of a run that has been pre-trained"),
    ],
)
def test_weights_that_are_not_there_are_said_as_what_they_are(weights, message, tmp_path):
    cfg = load("diving48", [f"frame_encoder.weights={weights.format(tmp_path)}"])
    assert re.search(message, weight_problem("frame_encoder", cfg.frame_encoder))
