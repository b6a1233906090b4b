"""f_A: shapes, unit vectors, what is frozen, torchvision's names, stretched positions."""

import numpy as np
import pytest
import torch

from finepseudo.encoders.config import FrameEncoderConfig
from finepseudo.encoders.frame_encoder import build_frame_encoder, positions
from finepseudo.encoders.resnet import ResNet50
from tests.finepseudo.encoders.networks import fingerprint, randomised


@pytest.fixture(scope="module")
def vtn():
    torch.manual_seed(0)
    return build_frame_encoder(FrameEncoderConfig(weights="byol:x"), start=False)


def statistics(module):
    return {name: value.clone() for name, value in module.named_buffers()}


def moved(before, module):
    return {name for name, value in module.named_buffers() if not torch.equal(before[name], value)}


def test_resnet_has_torchvisions_names_and_shapes():
    # taken from torchvision 0.28 resnet50 less its fc, where eval outputs were equal bit for bit
    resnet = ResNet50()
    assert fingerprint(resnet) == "c1f7fd3808aa49e7afb0ec26ebebafda398d447a68e9547c34a3d6fc8945c74c"
    assert sum(p.numel() for p in resnet.parameters()) == 25_557_032 - 2048 * 1000 - 1000


def test_vtn_is_carls_size_and_embeds_unit_vectors(vtn):
    above = sum(p.numel() for n, p in vtn.named_parameters() if not n.startswith(("image.", "projector.")))
    assert round(above / 1e6, 2) == 3.85
    vtn.eval()
    with torch.no_grad():
        out = vtn(torch.rand(2, 3, 3, 32, 32))
        projected = vtn.project(out)
    assert out.shape == projected.shape == (2, 3, 128)
    for value in (out, projected):
        torch.testing.assert_close(value.norm(dim=-1), torch.ones(2, 3))


def test_vtn_trains_layer4_only_until_frozen_whole(vtn):
    vtn.train()
    before = statistics(vtn.image)
    vtn(torch.rand(2, 3, 3, 32, 32)).sum().backward()
    assert {name.split(".")[0] for name in moved(before, vtn.image)} == {"layer4"}
    assert {n.split(".")[0] for n, p in vtn.image.named_parameters() if p.grad is not None} == {"layer4"}
    vtn.freeze_image_encoder()
    vtn.zero_grad()
    vtn.train()
    before = statistics(vtn.image)
    vtn(torch.rand(2, 3, 3, 32, 32)).sum().backward()
    assert moved(before, vtn.image) == set()
    assert all(p.grad is None for p in vtn.image.parameters())
    assert all(p.grad is not None for p in vtn.temporal.parameters())


def test_a_random_start_trains_the_whole_image_encoder():
    encoder = build_frame_encoder(FrameEncoderConfig(weights="random", options={"blocks": [1, 1, 1, 1]})).train()
    before = statistics(encoder.image)
    encoder(torch.rand(2, 3, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.image.parameters())
    assert {name.split(".")[0] for name in moved(before, encoder.image)} == {
        "bn1",
        "layer1",
        "layer2",
        "layer3",
        "layer4",
    }


def test_a_frozen_trunk_gives_what_the_whole_network_gives():
    resnet = randomised(ResNet50(blocks=(1, 1, 1, 1))).eval()
    frames = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        free = resnet(frames)
        resnet.freeze_trunk()
        assert torch.equal(resnet(frames), free)


@pytest.mark.slow
def test_outputs_are_torchvisions():
    models = pytest.importorskip("torchvision.models", reason="torchvision is in the extra `encoders`")
    theirs = randomised(models.resnet50(weights=None)).eval()
    theirs.avgpool, theirs.fc = torch.nn.AdaptiveMaxPool2d(1), torch.nn.Identity()
    ours = ResNet50().eval()
    ours.load_state_dict(theirs.state_dict())
    frames = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(frames), theirs(frames), rtol=1e-5, atol=1e-5)


def test_dropout_is_where_carl_has_it():
    """None inside attention and perceptron: with the outer ones off, training mode gives what evaluation gives."""
    encoder = build_frame_encoder(FrameEncoderConfig(variant="tiny", dropout=0.5))
    layer = encoder.temporal.layers[0]
    layer.dropout1.p = layer.dropout2.p = 0.0
    x = torch.randn(2, 5, 64)
    torch.testing.assert_close(layer.train()(x), layer.eval()(x))
    layer.dropout2.p = 0.5
    assert (layer.train()(x) - layer.eval()(x)).abs().max() > 0.01


@pytest.mark.parametrize("inner", [0.0, 0.3])
def test_dropout_inside_the_transformer_is_a_key(inner):
    encoder = build_frame_encoder(FrameEncoderConfig(variant="tiny", dropout=0.1, inner_dropout=inner))
    for layer in encoder.temporal.layers:
        assert (layer.self_attn.dropout, layer.dropout.p) == (inner, inner)
        assert (layer.dropout1.p, layer.dropout2.p) == (0.1, 0.1)


def test_tiny_freezes_its_statistics_too():
    encoder = build_frame_encoder(FrameEncoderConfig(variant="tiny"))
    encoder.freeze_image_encoder()
    encoder.train()
    before = statistics(encoder.image)
    out = encoder(torch.rand(2, 4, 3, 24, 24))
    assert out.shape == (2, 4, 64) and out.requires_grad
    assert moved(before, encoder.image) == set()


def test_positions_are_stretched_onto_the_training_length():
    angle = 19 / 9 * np.array([0, 4, 9])
    got = positions(10, 4, 20)[[0, 4, 9]].numpy()
    np.testing.assert_allclose(got[:, 0], np.sin(angle), atol=1e-5)
    np.testing.assert_allclose(got[:, 3], np.cos(angle / 100), atol=1e-5)
    torch.testing.assert_close(positions(20, 8, 20)[-1], positions(7, 8, 20)[-1])


def test_carls_codes_have_a_rate_a_column():
    got = positions(30, 8, 30, carl=True).numpy()
    for column in range(8):
        wave = np.cos if column % 2 else np.sin
        np.testing.assert_allclose(got[:, column], wave(np.arange(30) / 10000 ** (column / 8)), atol=1e-5)


def test_embedding_knows_its_place_and_its_neighbours():
    torch.manual_seed(1)
    encoder = build_frame_encoder(FrameEncoderConfig(variant="tiny")).eval()
    frames = torch.rand(1, 6, 3, 24, 24)
    with torch.no_grad():
        plain, other = encoder(frames), encoder(torch.cat([frames[:, :5], torch.rand(1, 1, 3, 24, 24)], 1))
        assert (plain[:, 0] - other[:, 0]).abs().max() > 1e-4
        torch.testing.assert_close(encoder(torch.cat([frames, frames.flip(1)]))[:1], plain)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 100}, "multiple of 2 x heads"),
        ({"weights": "byol"}, "takes imagenet:FILE, byol:FILE, .*carl:FILE, run:PATH of a finished run or random"),
        ({"weights": "/data/x.pt"}, "`finepseudo weights /data/x.pt` says what a file is"),
        ({"variant": "tiny", "weights": "byol:x.pt"}, "no published weights fit variant tiny"),
        ({"dropout": 1.0}, r"\[0, 1\)"),
        ({"train_length": 1}, "at least 2"),
    ],
)
def test_config_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        FrameEncoderConfig(**options)


def test_bf16_is_the_encoder_alone_and_close_to_fp32():
    frames = torch.rand(3, 5, 3, 24, 24)
    out = {}
    for precision in ("fp32", "bf16"):
        torch.manual_seed(2)
        encoder = build_frame_encoder(FrameEncoderConfig(variant="tiny", precision=precision, dropout=0.0))
        out[precision] = encoder(frames)
        encoder.project(out[precision]).sum().backward()
        assert {p.grad.dtype for p in encoder.parameters()} == {torch.float32}
        assert {b.dtype for b in statistics(encoder).values()} <= {torch.float32, torch.int64}
    assert out["bf16"].dtype == torch.float32
    torch.testing.assert_close(out["bf16"].norm(dim=-1), torch.ones(3, 5))
    assert 1e-5 < (out["bf16"] - out["fp32"]).abs().max() < 0.05
