"""CMPL's row: the light network beside f_E."""

from __future__ import annotations

import torch

from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.encoders.slow_resnet import SlowR50
from finepseudo.methods.base import Setting, TrainAction
from finepseudo.methods.cmpl import CMPL, CmplConfig
from finepseudo.training.config import CrossEntropyConfig


def parameters(module) -> int:
    return sum(p.numel() for p in module.parameters())


def objective(**values):
    torch.manual_seed(0)
    encoder = build_action_encoder(ActionEncoderConfig(variant="tiny", dropout=0.25), 5)
    made = Setting(
        request=TrainAction(number=1, start=0),
        encoder=encoder,
        fresh=lambda: encoder,
        loss=CrossEntropyConfig(),
        n_classes=5,
        steps=10,
        seed=0,
    )
    return CMPL.objective(CmplConfig(**values), made)


def test_the_auxiliary_network_is_a_3d_resnet_50_of_a_quarter_of_the_width():
    light = objective().auxiliary
    assert (light.width, light.backbone.stem[0].out_channels, light.fc.out_features) == (512, 16, 5)
    assert light.dropout.p == 0.25 and all(p.requires_grad for p in light.parameters())
    assert 1 / 17 < parameters(light.backbone) / parameters(SlowR50()) < 1 / 15
    assert light(torch.rand(2, 8, 3, 32, 32)).shape == (2, 5)


def test_another_backbone_may_stand_in_its_place():
    assert objective(auxiliary="tiny", auxiliary_options={}).auxiliary.width == 192
