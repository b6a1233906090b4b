"""f_E: the tiny network's sense of order, MC-dropout, precision, what is built without a start."""

import torch

from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig


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


def test_bf16_is_the_backbone_alone_and_close_to_fp32():
    frames = torch.rand(3, 6, 3, 16, 16)
    logits = {}
    for precision in ("fp32", "bf16"):
        torch.manual_seed(2)
        config = ActionEncoderConfig(variant="tiny", precision=precision, dropout=0.0)
        logits[precision] = build_action_encoder(config, 4)(frames)
    assert logits["bf16"].dtype == torch.float32
    assert 1e-6 < (logits["bf16"] - logits["fp32"]).abs().max() < 0.05


def test_without_a_start_the_file_need_not_be_there_and_its_form_stays():
    cfg = ActionEncoderConfig(variant="r2plus1d_18", weights="tclr:/nowhere/model.pth")
    encoder = build_action_encoder(cfg, 3, start=False)
    assert encoder.backbone.layer4[0].conv1[0].weight.shape == (512, 256, 3, 3, 3)
    assert encoder.weights_record is None
