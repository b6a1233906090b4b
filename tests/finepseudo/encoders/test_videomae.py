"""VideoMAE: position codes, outputs of the library that publishes it."""

import math

import pytest
import torch

from finepseudo.encoders.videomae import VideoMae, sine_codes
from tests.finepseudo.encoders.networks import count, randomised
from tests.finepseudo.encoders.published import videomae_transformers

SMALL = {"width": 24, "depth": 2, "heads": 3, "patch": 8, "size": 32, "frames": 4, "drop_path": 0.0}


def test_it_has_vit_bs_parameters():
    with torch.device("meta"):
        network = VideoMae()
    key_biases = 12 * 768
    assert count(network) - key_biases + 768 * 400 + 400 == 86_534_800  # published with 400 classes


def test_codes_are_sines_of_the_place():
    codes = sine_codes(50, 8)
    assert math.isclose(codes[7, 0], math.sin(7), rel_tol=1e-6)
    assert math.isclose(codes[7, 3], math.cos(7 / 10000 ** (2 / 8)), rel_tol=1e-6)


def test_frames_and_size_are_fixed():
    network = VideoMae(**SMALL)
    assert network(torch.rand(2, 3, 4, 32, 32)).shape == (2, 24)
    assert "positions" not in network.state_dict()
    with pytest.raises(ValueError, match="6 frames of 32 pixels"):
        network(torch.rand(1, 3, 6, 32, 32))


def test_outputs_are_those_of_the_transformers_library():
    library = pytest.importorskip("transformers", reason="transformers is no dependency")
    config = library.VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=96, use_mean_pooling=True, num_labels=5, layer_norm_eps=1e-6,
    )  # fmt: skip
    theirs = library.VideoMAEForVideoClassification(config).eval()
    ours = randomised(VideoMae(**SMALL)).eval()
    with torch.no_grad():
        for block in ours.blocks:  # a bias of the keys changes no attention, and is not published
            block.attn.qkv.bias[24:48] = 0
    given = videomae_transformers(ours.state_dict()) | {
        "classifier.weight": torch.eye(5, 24),
        "classifier.bias": torch.zeros(5),
    }
    if any(name.endswith("query.bias") for name in theirs.state_dict()):  # version 5 renames what it reads
        given = {name.replace("q_bias", "query.bias").replace("v_bias", "value.bias"): given[name] for name in given}
        keys = {name.replace("value.bias", "key.bias"): torch.zeros(24) for name in given if "value.bias" in name}
        given |= {name: value for name, value in keys.items() if name in theirs.state_dict()}
    theirs.load_state_dict(given)
    clip = torch.rand(2, 3, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(clip)[:, :5], theirs(clip.transpose(1, 2)).logits, rtol=0, atol=1e-5)
