"""Image encoders of timm below f_A: frozen, filled by timm's own rules; without timm, one line says what to install."""

import sys

import pytest
import torch

from finepseudo.encoders.config import FrameEncoderConfig
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.encoders.timm_image import published_names
from shards.errors import UserError
from tests.finepseudo.encoders.networks import randomised


def test_without_timm_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"variant needs timm .*pip install 'finepseudo\[encoders\]'"):
        build_frame_encoder(FrameEncoderConfig(variant="vtn_dinov2_s", weights="random"))


def test_a_file_that_timms_rules_fail_on_is_refused_in_one_line(monkeypatch):
    """They reshape the codes of another network of the same names, and raise what torch raises."""
    network = torch.nn.Module()
    network.net = torch.nn.Linear(2, 2)
    module = sys.modules[torch.nn.Linear.__module__]

    def rules(tensors, net):
        return {"codes": tensors["codes"].reshape(13, 13)}

    monkeypatch.setattr(module, "checkpoint_filter_fn", rules, raising=False)
    assert published_names({"codes": torch.ones(169)}, network)["net.codes"].shape == (13, 13)
    with pytest.raises(ValueError, match=r"timm's rules for Linear do not fit this file \(shape '\[13, 13\]'"):
        published_names({"codes": torch.ones(196)}, network)


@pytest.fixture
def timm():
    return pytest.importorskip("timm", reason="timm is in the extra `encoders`")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "kind", "model", "size"),
    [
        ("vtn_dinov2_s", "dinov2", "vit_small_patch14_dinov2", 224),
        ("vtn_dinov3_s", "dinov3", "vit_small_patch16_dinov3", 224),
        ("vtn_clip_b", "clip", "vit_base_patch16_clip_quickgelu_224", 224),
    ],
)
def test_timms_files_load_and_give_timms_features(variant, kind, model, size, timm, tmp_path):
    theirs = randomised(timm.create_model(model, num_classes=0, img_size=size)).eval()
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    encoder = build_frame_encoder(FrameEncoderConfig(variant=variant, weights=f"{kind}:{tmp_path / 'x.pth'}"))
    assert encoder.image_frozen
    assert encoder.weights_record.left_random == ()
    frames = torch.rand(2, 3, size, size)
    encoder.train()
    with torch.no_grad():
        torch.testing.assert_close(encoder.image(frames), theirs(frames), rtol=0, atol=1e-5)
    out = encoder(torch.rand(1, 2, 3, size, size))
    out.sum().backward()
    assert all(parameter.grad is None for parameter in encoder.image.parameters())
    assert all(parameter.grad is not None for parameter in encoder.temporal.parameters())


@pytest.mark.slow
def test_position_codes_of_another_size_are_fitted(timm, tmp_path):
    published = timm.create_model("vit_small_patch14_dinov2", num_classes=0)  # 518 pixels
    torch.nn.init.constant_(published.pos_embed, 0.7)
    torch.save({"teacher": {"backbone." + n: v for n, v in published.state_dict().items()}}, tmp_path / "x.pth")
    encoder = build_frame_encoder(FrameEncoderConfig(variant="vtn_dinov2_s", weights=f"dinov2:{tmp_path / 'x.pth'}"))
    codes = encoder.image.net.pos_embed
    assert codes.shape == (1, 1 + 16 * 16, 384)
    torch.testing.assert_close(codes, torch.full_like(codes, 0.7))


@pytest.mark.slow
def test_openais_names_load_into_timms_network(timm, tmp_path):
    library = pytest.importorskip("open_clip", reason="open_clip is no dependency")
    tower = randomised(library.create_model("ViT-B-16-quickgelu", pretrained=None)).eval()
    torch.save(tower.state_dict(), tmp_path / "x.pt")
    encoder = build_frame_encoder(FrameEncoderConfig(variant="vtn_clip_b", weights=f"clip:{tmp_path / 'x.pt'}")).eval()
    tower.visual.proj = None
    frames = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(encoder.image(frames), tower.visual(frames), rtol=0, atol=1e-5)


def test_a_random_start_trains_it(timm):
    cfg = FrameEncoderConfig(variant="vtn_dinov2_s", weights="random")
    encoder = build_frame_encoder(cfg)
    assert not encoder.image_frozen
    assert all(parameter.requires_grad for parameter in encoder.image.parameters())
