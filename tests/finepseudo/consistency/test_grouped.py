"""SeFAR on a ViT: the numbers of parameters of its table, and a time code for each group."""

import pytest
import torch

from finepseudo.consistency.grouped import GroupedEncoder
from finepseudo.encoders.action_encoder import ActionEncoder, build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from jobs.config.recipes import load
from shards.errors import UserError
from tests.finepseudo.encoders.networks import count, randomised

SMALL = {"width": 24, "depth": 2, "heads": 3, "patch": 8, "size": 32, "frames": 8, "drop_path": 0.0}


@pytest.mark.parametrize(("variant", "millions"), [("timesformer_b", 122.27), ("timesformer_s", 31.26)])
def test_it_has_sefars_number_of_parameters(variant, millions):
    """For 99 classes; f_E's own last layer rests and is not counted."""
    with torch.device("meta"):
        encoder = ActionEncoder(ActionEncoderConfig(variant=variant, weights="random"), 99)
        network = GroupedEncoder(encoder, (2, 2, 4), 99)
    assert round((count(encoder.backbone) + count(network.head)) / 1e6, 2) == millions
    assert [code.shape[1] for code in encoder.backbone.time_embeds] == [2, 2, 4]


def grouped(groups=()):
    torch.manual_seed(0)
    cfg = ActionEncoderConfig(variant="timesformer_s", weights="random", options=SMALL)
    return randomised(GroupedEncoder(build_action_encoder(cfg, 3), groups, 3)).eval()


@torch.no_grad()
def test_each_group_goes_through_one_backbone_with_its_own_code():
    network, clips = grouped(), torch.rand(2, 8, 3, 32, 32)
    before = network(clips)
    slots = [[3, 7], [1, 5], [0, 2, 4, 6]]
    alone = torch.stack([network.encoder.features(clips[:, own], i) for i, own in enumerate(slots)], dim=1)
    torch.testing.assert_close(network.head(alone), before)
    for place, own in enumerate(slots):
        code = network.encoder.backbone.time_embeds[place]
        assert code.shape == (1, len(own), 24)
        code.add_(torch.randn(code.shape))
        assert not torch.allclose(network(clips), before)
        before = network(clips)
    assert network(clips[:0]).shape == (0, 3)


def test_all_codes_learn():
    network = grouped().train()
    network(torch.rand(2, 8, 3, 32, 32)).square().sum().backward()
    assert all(code.grad.abs().max() > 0 for code in network.encoder.backbone.time_embeds)


@pytest.mark.parametrize("method", ["sefar", "sefar_stable", "finepseudo_sefar"])
@pytest.mark.parametrize("variant", ["aim_b16", "videomae_b"])
def test_an_encoder_of_a_fixed_number_of_frames_is_refused_in_one_line(method, variant):
    mine = [f"action_encoder.variant={variant}", "action_encoder.weights=random", f"methods=[{method}]"]
    frames = {"aim_b16": 32, "videomae_b": 16}[variant]
    mine += [f"action_input.sampling.frames={frames}", "action_input.augment.size=224"]
    with pytest.raises(UserError, match=rf"method\.{method}\.groups = .*{variant} takes {frames} frames alone; take"):
        load("smoke", mine)
