"""Weights get the frames they were trained on."""

import pytest

from jobs.config.recipes import load
from shards.errors import UserError

RGB = ["action_input.augment.channels=rgb", "action_input.augment.mean=[.43, .39, .38]"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["action_encoder.init=tclr", "action_encoder.layer4=tclr"], None),
        (["action_encoder.init=kinetics_sup", *RGB], None),
        (["frame_encoder.init=byol"], None),
        (
            ["action_encoder.init=tclr", "action_encoder.layer4=tclr", "action_input.augment.std=[.2, .2, .2]"],
            r"action_input.augment.std = \[0.2, 0.2, 0.2\]: weights of init tclr expect BGR in",
        ),
        (["action_encoder.init=tclr", "action_encoder.layer4=tclr", *RGB], "action_input.augment.channels = rgb"),
        (
            ["action_encoder.init=kinetics_sup"],
            "action_input.augment.channels = bgr: weights of init kinetics_sup expect normalised RGB; set",
        ),
        (["action_encoder.init=kinetics_sup", RGB[0]], r"action_input.augment.mean = \[0.0, 0.0, 0.0\]"),
        (["frame_encoder.init=byol", "frame_input.augment.channels=bgr"], "frame_input.augment.channels = bgr"),
        (["frame_encoder.init=imagenet_sup", "pretrain.input.augment.mean=[0, 0, 0]"], "pretrain.input.augment.mean"),
    ],
)
def test_weights_get_the_images_they_were_trained_on(overrides, message):
    given = [*overrides, f"{overrides[0].split('.')[0]}.weights=/some/file.pt"]
    if message is None:
        load("diving48", given)
        return
    with pytest.raises(UserError, match=message):
        load("diving48", given)
