"""TimeSformer: sizes of the papers, divided attention, a start that is the image ViT."""

import pytest
import torch

from finepseudo.encoders.convert import vit_to_timesformer
from finepseudo.encoders.timesformer import TimeSformer
from tests.finepseudo.encoders.networks import randomised

SMALL = {"width": 24, "depth": 2, "heads": 3, "patch": 8, "size": 32, "drop_path": 0.0}


SLOTS = [[3, 7], [1, 5], [0, 2, 4, 6]]


def test_a_clip_shared_out_has_the_time_codes_of_its_slots():
    network = randomised(TimeSformer(**SMALL, frames=8))
    (whole,) = network.time_embeds
    network.share_out(SLOTS)
    assert [code.shape[1] for code in network.time_embeds] == [2, 2, 4]
    for code, own in zip(network.time_embeds, SLOTS, strict=True):
        assert torch.equal(code, whole[:, own]) and code.requires_grad
    fresh = TimeSformer(**SMALL, frames=8)
    fresh.share_out(SLOTS)
    assert not any(code.any() for code in fresh.time_embeds), "zero at the start"


def test_groups_have_time_codes_of_their_own():
    network = TimeSformer(**SMALL, frames=8)
    network.share_out(SLOTS)
    network = randomised(network).eval()
    clip = torch.rand(1, 3, 2, 32, 32)
    with torch.no_grad():
        assert (network(clip, 0) - network(clip, 1)).abs().max() > 1e-3
        assert network(torch.rand(1, 3, 4, 32, 32), 2).shape == (1, 24)
    with pytest.raises(ValueError, match="3 frames do not fit the 2 of time code 0"):
        network(torch.rand(1, 3, 3, 32, 32))


def test_time_is_attended_place_by_place_and_space_frame_by_frame():
    network = randomised(TimeSformer(**SMALL, frames=3)).eval()
    block = network.blocks[0]
    tokens = torch.randn(1, 1 + 16 * 3, 24)
    other = tokens.clone()
    other[:, 1 + 5 * 3 + 1] = torch.randn(24)  # place 5, frame 1
    with torch.no_grad():
        block.temporal_fc.weight.zero_()
        block.temporal_fc.bias.zero_()
        changed = (block(tokens, 3) - block(other, 3)).abs().amax((0, 2)) > 1e-7
        frames = changed[1:].view(16, 3)
        assert frames.all(0).tolist() == [False, True, False], "space alone: its own frame"
        randomised(block)
        frames = ((block(tokens, 3) - block(other, 3)).abs().amax((0, 2)) > 1e-7)[1:].view(16, 3)
        assert frames.all(), "time at place 5 reaches every frame, space from there every place"


def test_temporal_attention_adds_nothing_at_the_start_and_tells_order_later():
    network = TimeSformer(**SMALL, frames=4).eval()
    clip = torch.rand(1, 3, 4, 32, 32)
    with torch.no_grad():
        before = network(clip)
        for block in network.blocks:
            randomised(block.temporal_attn)
        assert torch.equal(network(clip), before)
        randomised(network)
        assert (network(clip) - network(clip.flip(2))).abs().max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_small_patch16_224", "deit3_small_patch16_224", "vit_base_patch16_224"])
def test_a_still_clip_gives_what_timms_image_network_gives(name):
    timm = pytest.importorskip("timm", reason="timm is in the extra `encoders`")
    image = randomised(timm.create_model(name, num_classes=0, global_pool="token")).eval()
    width = image.num_features
    network = TimeSformer(width=width, heads=width // 64, frames=3).eval()
    missing = network.load_state_dict(vit_to_timesformer(image.state_dict(), network), strict=False).missing_keys
    assert {key.split(".")[0] if "time" in key.split(".")[0] else key.split(".")[2] for key in missing} == {
        "time_embeds",
        "temporal_fc",
    }
    still = torch.rand(2, 3, 1, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(network(still.expand(-1, -1, 3, -1, -1)), image(still[:, :, 0]), rtol=0, atol=1e-5)


def test_outputs_are_those_of_the_transformers_library():
    library = pytest.importorskip("transformers", reason="transformers is no dependency")
    settings = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    config = library.TimesformerConfig(image_size=32, patch_size=8, num_frames=3, hidden_dropout_prob=0.0, **settings)
    theirs = randomised(library.TimesformerModel(config)).eval()
    ours = TimeSformer(**SMALL, frames=3).eval()
    given = {}
    for theirs_name, value in theirs.state_dict().items():
        name = theirs_name
        for old, new in (
            ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
            ("embeddings.cls_token", "cls_token"),
            ("embeddings.position_embeddings", "pos_embed"),
            ("embeddings.time_embeddings", "time_embeds.0"),
            ("encoder.layer.", "blocks."),
            ("temporal_attention.attention.qkv", "temporal_attn.qkv"),
            ("temporal_attention.output.dense", "temporal_attn.proj"),
            ("temporal_layernorm", "temporal_norm1"),
            ("temporal_dense", "temporal_fc"),
            ("attention.attention.qkv", "attn.qkv"),
            ("attention.output.dense", "attn.proj"),
            ("intermediate.dense", "mlp.fc1"),
            ("output.dense", "mlp.fc2"),
            ("layernorm_before", "norm1"),
            ("layernorm_after", "norm2"),
            ("layernorm.", "norm."),
        ):
            name = name.replace(old, new)
        given[name] = value
    ours.load_state_dict(given)
    clip = torch.rand(2, 3, 3, 32, 32)
    with torch.no_grad():
        theirs_out = theirs(clip.transpose(1, 2)).last_hidden_state[:, 0]
        torch.testing.assert_close(ours(clip), theirs_out, rtol=0, atol=1e-5)
