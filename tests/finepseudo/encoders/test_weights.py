"""Published files of every layout load whole, into what they were made for; everything else is refused in one line."""

import argparse
import hashlib

import pytest
import torch
from safetensors.torch import save_file

from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.frame_encoder import build_frame_encoder
from shards.errors import UserError
from tests.finepseudo.encoders import published
from tests.finepseudo.encoders.networks import randomised
from tests.finepseudo.encoders.published import below
from tests.finepseudo.encoders.test_checkpoint_files import scaler

SHORT = {"blocks": [1, 1, 1, 1]}
VIT = {"width": 32, "depth": 2, "heads": 4, "patch": 8, "size": 32, "frames": 4}
HEAD = {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}


def f_e(variant, weights="random", **options):
    return build_action_encoder(ActionEncoderConfig(variant=variant, weights=weights, options=options), 5)


def f_a(weights="random", **sizes):
    return build_frame_encoder(FrameEncoderConfig(weights=weights, options=SHORT, hidden=64, width=32, **sizes))


def without_counts(tensors):
    return {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}


def same(network, tensors):
    state = network.state_dict()
    return bool(tensors) and all(torch.equal(state[name], value) for name, value in tensors.items())


@pytest.fixture(scope="module")
def resnet():
    return randomised(f_a()).image.state_dict()


def other(state):
    return {name: torch.zeros_like(value) for name, value in state.items()}


def moco(state, online, momentum):
    heads = {"fc.0.weight": torch.zeros(2, 2), "fc.2.bias": torch.zeros(2)}
    return {**below(f"module.{online}.", {**state, **heads}), **below(f"module.{momentum}.", {**other(state), **heads})}


RESNETS = {
    "imagenet, torchvision": ("imagenet", lambda r: {**r, **HEAD}),
    "imagenet, without counts": ("imagenet", lambda r: without_counts({**r, **HEAD})),
    "byol, online_backbone": (
        "byol",
        lambda r: {"online_backbone": below("module.", r), "target_backbone": below("module.", r), "step": 3},
    ),
    "byol, children in online_backbone": ("byol", lambda r: {"online_backbone": published.numbered(r)}),
    "byol, online and target in one": (
        "byol",
        lambda r: {**below("target.", other(r)), **below("online.", r)},
    ),
    "byol, online_network and target_network": (
        "byol",
        lambda r: {
            "online_network": below("module.encoder.", r),
            "target_network": below("module.encoder.", other(r)),
            "predictor": {"net.0.weight": torch.ones(2)},
        },
    ),
    "byol, network inside online_encoder": (
        "byol",
        lambda r: {**below("online_encoder.net.", r), **below("target_encoder.net.", other(r)), **below("net.", r)},
    ),
    "byol, backbone and momentum_backbone": (
        "byol",
        lambda r: {"state_dict": {**below("momentum_backbone.", other(r)), **below("backbone.", r)}},
    ),
    "moco v2": (
        "moco",
        lambda r: {
            "arch": "resnet50",
            "state_dict": {**moco(r, "encoder_q", "encoder_k"), "module.queue": torch.ones(2)},
        },
    ),
    "moco v3": (
        "moco",
        lambda r: {
            "state_dict": {**moco(r, "base_encoder", "momentum_encoder"), "module.predictor.0.weight": torch.ones(2)}
        },
    ),
    "swav": (
        "swav",
        lambda r: {
            **below("module.", {**r, "projection_head.0.weight": torch.ones(2), "prototypes.weight": torch.ones(2)})
        },
    ),
    "dino, backbone alone": ("dino", lambda r: r),
    "dino, student and teacher": (
        "dino",
        lambda r: {
            "student": below("module.backbone.", other(r)),
            "teacher": {**below("backbone.", r), "head.mlp.0.weight": torch.ones(2)},
            "args": argparse.Namespace(arch="resnet50"),
            "epoch": 400,
        },
    ),
}


@pytest.mark.parametrize("name", RESNETS)
def test_layouts_of_resnet50(name, resnet, tmp_path):
    kind, made = RESNETS[name]
    file = tmp_path / "x.pth"
    torch.save(made(resnet), file)
    encoder = f_a(f"{kind}:{file}")
    assert same(encoder.image, without_counts(resnet))
    record = encoder.weights_record
    assert record.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert record.loaded in (len(resnet), len(without_counts(resnet)))
    assert record.left_random == ()


def test_safetensors_with_a_prefix(resnet, tmp_path):
    save_file(
        {**below("online.", {k: v.clone() for k, v in resnet.items()}), "predictor.weight": torch.zeros(3)},
        tmp_path / "x.safetensors",
    )
    encoder = f_a(f"byol:{tmp_path / 'x.safetensors'}")
    assert same(encoder.image, resnet)
    assert (encoder.weights_record.prefix, encoder.weights_record.left_out) == ("online.", 1)


def test_carls_whole_f_a(tmp_path):
    trained = randomised(f_a(projection=128, position_codes="carl"))
    state = trained.state_dict()
    file = tmp_path / "checkpoint_epoch_00299.pth"
    names = {**published.carl(without_counts(state)), "classifier.fc_layers.1.weight": torch.ones(3)}
    torch.save({"epoch": 299, "model_state": names, "optimizer_state": {"state": {}}}, file)
    encoder = f_a(f"carl:{file}")
    assert same(encoder, without_counts(state))
    frames = torch.rand(1, 4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(frames), trained.eval()(frames))
        plain = f_a(f"carl:{file}", position_codes="plain").eval()(frames)
    assert not torch.allclose(plain, trained(frames)), "its weights go with its position codes"
    with pytest.raises(UserError, match=r"temporal\.layers\.2\..* is surplus"):
        f_a(f"carl:{file}", layers=2)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["r2plus1d_18", "r3d_18"])
def test_tclrs_trainer_with_its_scaler_prefix_and_layer4(variant, tmp_path):
    state = randomised(f_e(variant, layer4="tclr")).backbone.state_dict()
    file = tmp_path / "model_best_e99_loss_0.5.pth"
    content = {**below("module.0.", state), "module.1.fc1.weight": torch.zeros(2)}
    torch.save({"epoch": 3, "state_dict": content, "optimizer": {"state": {}}, "amp_scaler": scaler()}, file)
    encoder = f_e(variant, f"tclr:{file}")
    assert same(encoder.backbone, state)
    assert encoder.backbone.layer4[0].conv1[0].weight.shape == (512, 256, 3, 3, 3)
    torch.save({"bb_state_dict": {**state, "fc.weight": torch.ones(2, 512)}, "args": argparse.Namespace()}, file)
    assert same(f_e(variant, f"tclr:{file}").backbone, state)


def test_the_head_of_a_file_is_left_out_even_where_it_fits(tmp_path):
    state = f_e("r2plus1d_18").backbone.state_dict()
    torch.save({**state, "fc.weight": torch.full((5, 512), 9.0), "fc.bias": torch.full((5,), 9.0)}, tmp_path / "k.pth")
    encoder = f_e("r2plus1d_18", f"kinetics_sup:{tmp_path / 'k.pth'}")
    assert encoder.fc.weight.abs().max() < 1
    assert encoder.weights_record.left_out == 2


@pytest.mark.parametrize(("name", "nest"), [("pytorchvideo", "model_state"), ("slowfast", "model_state")])
def test_layouts_of_slow_r50(name, nest, tmp_path):
    trained = randomised(f_e("slow_r50", **SHORT))
    state = trained.backbone.state_dict()
    head = {"pytorchvideo": "blocks.5.proj.weight", "slowfast": "head.projection.weight"}[name]
    file = tmp_path / "SLOW_8x8_R50.pyth"
    torch.save({nest: {**getattr(published, name)(state), head: torch.ones(400, 2048)}}, file)
    encoder = f_e("slow_r50", f"kinetics_sup:{file}", **SHORT)
    assert same(encoder.backbone, state)
    assert encoder.weights_record.left_out == 1


def test_a_vit_becomes_a_timesformer(tmp_path):
    trained = randomised(f_e("timesformer_b", **VIT))
    image = {n: v for n, v in trained.backbone.state_dict().items() if "time" not in n and "temporal" not in n}
    file = tmp_path / "jx_vit_base_p16_224.pth"
    torch.save({**image, "head.weight": torch.ones(1000, 32), "pre_logits.fc.weight": torch.ones(2)}, file)
    encoder = f_e("timesformer_b", f"imagenet:{file}", **VIT)
    state = encoder.backbone.state_dict()
    assert same(encoder.backbone, image)
    for name, value in image.items():
        if ".attn." in name or ".norm1." in name:
            copied = name.replace(".attn.", ".temporal_attn.").replace(".norm1.", ".temporal_norm1.")
            assert torch.equal(state[copied], value)
    fresh = {n for n in state if "temporal_fc" in n or n.startswith("time_embeds")}
    assert set(encoder.weights_record.left_random) == fresh
    assert all(bool((state[name] == 0).all()) for name in fresh)


def test_deit3_comes_with_its_scales_and_without_a_position_of_the_token(tmp_path):
    trained = randomised(f_e("timesformer_s", **VIT)).backbone.state_dict()
    image = {n: v for n, v in trained.items() if "time" not in n and "temporal" not in n}
    scales = {f"blocks.{b}.ls{n}.gamma": torch.full((32,), 0.5) for b in range(2) for n in (1, 2)}
    torch.save({"model": {**image, **scales, "pos_embed": image["pos_embed"][:, 1:]}}, tmp_path / "d.pth")
    encoder = f_e("timesformer_s", f"imagenet:{tmp_path / 'd.pth'}", **VIT)
    state = encoder.backbone.state_dict()
    torch.testing.assert_close(state["blocks.1.mlp.fc2.weight"], image["blocks.1.mlp.fc2.weight"] / 2)
    torch.testing.assert_close(state["blocks.0.attn.proj.bias"], image["blocks.0.attn.proj.bias"] / 2)
    assert state["pos_embed"][:, 0].abs().max() == 0
    assert torch.equal(state["pos_embed"][:, 1:], image["pos_embed"][:, 1:])


def test_timesformers_own_layout(tmp_path):
    trained = randomised(f_e("timesformer_b", **VIT)).backbone.state_dict()
    names = {name.replace("time_embeds.0", "time_embed"): value for name, value in trained.items()}
    torch.save({"model_state": below("model.", {**names, "head.weight": torch.ones(400, 32)})}, tmp_path / "t.pyth")
    assert same(f_e("timesformer_b", f"kinetics_sup:{tmp_path / 't.pyth'}", **VIT).backbone, trained)


@pytest.mark.parametrize("kind", ["clip", "open_clip"])
@pytest.mark.parametrize("half", [False, True])
def test_layouts_of_clip(kind, half, tmp_path):
    trained = randomised(f_e("aim_b16", **VIT)).backbone.state_dict()
    names = published.clip(trained)
    given = {name: value.half() for name, value in names.items()} if half else names
    torch.save({"state_dict": below("module.", given)} if kind == "open_clip" else given, tmp_path / "c.pt")
    encoder = f_e("aim_b16", f"{kind}:{tmp_path / 'c.pt'}", **VIT)
    own = {n: v for n, v in trained.items() if "adapter" not in n and n != "temporal_embedding"}
    assert same(encoder.backbone, {n: v.half().float() for n, v in own.items()} if half else own)
    assert all("adapter" in name or name == "temporal_embedding" for name in encoder.weights_record.left_random)
    assert not encoder.backbone.blocks[0].attn.qkv.weight.requires_grad


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("kinetics_sup", lambda names: {"module": {**names, "head.weight": torch.ones(400, 32)}}),
        ("ssv2_sup", lambda names: {"model": {**names, "head.weight": torch.ones(174, 32)}}),
        (
            "videomae",
            lambda names: {
                "model": {
                    **below("encoder.", {n: v for n, v in names.items() if not n.startswith("fc_norm")}),
                    "encoder.norm.weight": torch.ones(32),
                    "decoder.blocks.0.norm1.weight": torch.ones(16),
                    "mask_token": torch.ones(1, 1, 16),
                }
            },
        ),
    ],
)
def test_layouts_of_videomae(kind, made, tmp_path):
    trained = randomised(f_e("videomae_b", **VIT)).backbone.state_dict()
    for name in trained:
        if name.endswith("qkv.bias"):
            trained[name][32:64] = 0
    torch.save(made(published.videomae(trained)), tmp_path / "v.pth")
    encoder = f_e("videomae_b", f"{kind}:{tmp_path / 'v.pth'}", **VIT)
    wanted = {n: v for n, v in trained.items() if kind != "videomae" or not n.startswith("fc_norm")}
    assert same(encoder.backbone, wanted)
    older = published.videomae_transformers(trained)
    newer = {n.replace(".q_bias", ".query.bias").replace(".v_bias", ".value.bias"): v for n, v in older.items()}
    assert newer.keys() != older.keys()
    for names in (older, newer):
        save_file(names, tmp_path / "v.safetensors")
        encoder = f_e("videomae_b", f"kinetics_sup:{tmp_path / 'v.safetensors'}", **VIT)
        assert same(encoder.backbone, trained)


def test_refusals_are_one_line_and_load_nothing(resnet, tmp_path):
    def refused(words, content, kind="byol"):
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.pth"
        torch.save(content, file)
        with pytest.raises(UserError, match=words) as caught:
            f_a(f"{kind}:{file}")
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)

    missing = {name: value for name, value in resnet.items() if name != "layer3.0.conv2.weight"}
    refused(r"1 tensor does not fit ResNet50: layer3\.0\.conv2\.weight is missing", missing)
    refused(r"extra\.weight is surplus", {**resnet, "extra.weight": torch.zeros(1)})
    refused(r"conv1\.weight has shape \(1,\) instead of", {**resnet, "conv1.weight": torch.zeros(1)})
    refused("conv1.weight holds torch.int64", {**resnet, "conv1.weight": resnet["conv1.weight"].long()})
    refused("no tensor .*conv1.weight.*first name is stem", f_e("r2plus1d_18").backbone.state_dict())
    refused("holds several networks", {**below("a.", resnet), **below("b.", resnet)}, "imagenet")


def test_weights_that_were_not_given_are_asked_for():
    with pytest.raises(
        UserError, match=r"frame_encoder.weights: variant vtn needs .*byol:FILE.*; frame_encoder.weights=random"
    ):
        build_frame_encoder(FrameEncoderConfig())
    with pytest.raises(UserError, match=r"action_encoder.weights: variant r2plus1d_18 needs kinetics_sup:FILE or tclr"):
        build_action_encoder(ActionEncoderConfig(), 3)
