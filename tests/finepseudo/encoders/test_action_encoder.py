"""f_E: torchvision's tensors, TCLR's variant, the tiny network's sense of order, MC-dropout."""

import pytest
import torch

from finepseudo.encoders.action_encoder import R2Plus1D18, build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from tests.finepseudo.encoders.test_frame_encoder import fingerprint


def test_r2plus1d_has_torchvisions_tensors():
    # taken from torchvision 0.28 r2plus1d_18, where eval outputs were equal bit for bit
    network = R2Plus1D18(400)
    assert len(network.state_dict()) == 224
    assert sum(p.numel() for p in network.parameters()) == 31_505_325
    assert fingerprint(network) == "4be63f9053df0eaa9d6fe7d2d21eb3ec25e8c6ae7e1f5cebf591f120dfd3d444"


def test_tclr_keeps_the_frame_rate_in_layer4():
    shapes = {}
    for layout in ("torchvision", "tclr"):
        network = R2Plus1D18(5, layout).eval()
        with torch.no_grad():
            stem = network.layer3(network.layer2(network.layer1(network.stem(torch.rand(1, 3, 8, 32, 32)))))
            shapes[layout] = network.layer4(stem).shape
    assert shapes == {"torchvision": (1, 512, 1, 2, 2), "tclr": (1, 512, 2, 2, 2)}
    assert R2Plus1D18(5, "tclr").state_dict()["layer4.0.conv1.0.weight"].shape == (512, 256, 3, 3, 3)


def test_tiny_tells_order():
    torch.manual_seed(0)
    encoder = build_action_encoder(ActionEncoderConfig(variant="tiny"), 7).eval()
    frames = torch.rand(2, 9, 3, 32, 32) * torch.linspace(0, 1, 9).view(1, 9, 1, 1, 1)
    with torch.no_grad():
        features = encoder.features(frames)
        assert encoder(frames).shape == (2, 7)
        assert features.shape == (2, 192)
        assert (features - encoder.features(frames.flip(1))).norm() > 0.1 * features.norm()


def test_uncertainty_is_a_property_of_the_clip():
    torch.manual_seed(0)
    encoder = build_action_encoder(ActionEncoderConfig(variant="tiny"), 4).eval()
    frames = torch.rand(5, 6, 3, 16, 16)
    p, spread = encoder.predict(frames)
    torch.testing.assert_close(p, encoder(frames).softmax(-1).detach())
    assert (spread > 0).all()
    alone_p, alone = encoder.predict(frames[3:4])
    torch.testing.assert_close((alone_p, alone), (p[3:4], spread[3:4]))
    without = build_action_encoder(ActionEncoderConfig(variant="tiny", dropout=0.0), 4).eval()
    assert without.predict(frames)[1].abs().max() < 1e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"init": "tclr", "layer4": "tclr"}, "give both"),
        ({"init": "tclr", "weights": "x.pt"}, "layer4"),
        ({"variant": "tiny", "layer4": "tclr"}, "r2plus1d_18"),
        ({"mc_passes": 1}, "mc_passes = 1: must be at least 2"),
    ],
)
def test_config_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        ActionEncoderConfig(**options)


def test_bf16_is_the_backbone_alone_and_close_to_fp32():
    frames = torch.rand(3, 6, 3, 16, 16)
    logits = {}
    for precision in ("fp32", "bf16"):
        torch.manual_seed(2)
        config = ActionEncoderConfig(variant="tiny", precision=precision, dropout=0.0)
        logits[precision] = build_action_encoder(config, 4)(frames)
    assert logits["bf16"].dtype == torch.float32
    assert 1e-6 < (logits["bf16"] - logits["fp32"]).abs().max() < 0.05
