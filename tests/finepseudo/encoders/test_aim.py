"""AIM: sizes of the paper, a start that is CLIP frame by frame, what is trained."""

import pytest
import torch

from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.aim import Aim
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.encoders.convert import leading_ones
from finepseudo.encoders.layouts import CLIP
from finepseudo.encoders.weights import renamed
from finepseudo.training.config import OptimConfig
from finepseudo.training.optim import build_optimizer
from jobs.config.recipes import load
from tests.finepseudo.encoders.networks import count, randomised

SMALL = {"width": 32, "depth": 2, "heads": 4, "patch": 8, "size": 32, "frames": 3, "drop_path": 0.0}


def test_11_of_97_million_parameters_are_trained():
    with torch.device("meta"):
        network = Aim()
    head = 768 * 48 + 48
    assert round((count(network) + head) / 1e6) == 97  # 96.51
    network.freeze_trunk()
    assert round((count(network, trained=True) + head) / 1e6) == 11  # 10.71
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[-3] if "adapter" in name else name.split(".")[0] for name in trained} == {
        "t_adapter",
        "s_adapter",
        "mlp_adapter",
        "temporal_embedding",
        "norm",
    }


def test_it_starts_as_the_mean_of_its_frames_and_then_sees_their_order():
    network = Aim(**SMALL).eval()
    clip = torch.rand(2, 3, 3, 32, 32)
    with torch.no_grad():
        alone = torch.stack([network(clip[:, :, t : t + 1].expand(-1, -1, 3, -1, -1)) for t in range(3)]).mean(0)
        torch.testing.assert_close(network(clip), alone)
        randomised(network)
        assert (network(clip) - network(clip.flip(2))).abs().max() > 1e-3
    with pytest.raises(ValueError, match="2 frames do not fit the 3"):
        network(clip[:, :, :2])


@pytest.mark.parametrize("frozen", [True, False])
def test_weight_decay_leaves_alone_what_aims_recipe_exempts(frozen):
    """Its class embedding, positional embedding, ln_pre, ln_1, ln_2 and ln_post; not its time code and adapters."""
    network = randomised(Aim(**SMALL))
    if frozen:
        network.freeze_trunk()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = build_optimizer(network, OptimConfig(name="adamw", lr=0.5, weight_decay=0.5))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    exempt = {"cls_token", "pos_embed", "norm_pre.weight", "norm_pre.bias", "norm.weight", "norm.bias"}
    exempt |= {f"blocks.{i}.norm{n}.{part}" for i in range(2) for n in (1, 2) for part in ("weight", "bias")}
    for name, parameter in network.named_parameters():
        shrunk = 1.0 if name in exempt or not parameter.requires_grad else 0.75
        torch.testing.assert_close(parameter.detach(), shrunk * before[name], msg=name)


def test_each_adapter_learns():
    network = randomised(Aim(**SMALL))
    network.freeze_trunk()
    network(torch.rand(1, 3, 3, 32, 32)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.abs().max() > 0)) == parameter.requires_grad, name


@pytest.mark.slow
@pytest.mark.parametrize(("name", "activation"), [("ViT-B-16-quickgelu", "quick_gelu"), ("ViT-B-16", "gelu")])
def test_outputs_are_open_clips(name, activation):
    library = pytest.importorskip("open_clip", reason="open_clip is no dependency")
    tower = randomised(library.create_model(name, pretrained=None)).eval().visual
    tower.proj = None
    network = Aim(frames=2, activation=activation).eval()
    given = leading_ones({renamed(name, CLIP): value for name, value in tower.state_dict().items()}, network)
    fresh = network.load_state_dict(given, strict=False)
    assert not fresh.unexpected_keys
    assert all("adapter" in key or key == "temporal_embedding" for key in fresh.missing_keys)
    clip = torch.rand(1, 3, 2, 224, 224)
    with torch.no_grad():
        theirs = tower(clip[0].transpose(0, 1)).mean(0, keepdim=True)
        torch.testing.assert_close(network(clip), theirs, rtol=0, atol=1e-5)


def test_openai_and_laion_differ_in_their_activation():
    cfg = {kind: ActionEncoderConfig(variant="aim_b16", weights=f"{kind}:x.pt") for kind in ("clip", "open_clip")}
    assert "activation" not in cfg["clip"].built_from
    assert cfg["open_clip"].built_from["activation"] == "gelu"


def test_the_recipe_of_table_2_trains_11_of_97_million_parameters():
    """FinePseudo with AIM, as its stages build f_E: CLIP rests because its weights are given."""
    words = ["action_encoder.weights=clip:CLIP.pt", "frame_encoder.weights=random", "data.root=/data/diving48"]
    cfg = load("diving48_aim", words)
    assert "finepseudo" in cfg.methods
    assert cfg.action_input.augment.mean == pytest.approx((0.4815, 0.4578, 0.4082), abs=1e-4)
    assert (cfg.action_input.sampling.frames, cfg.action_input.augment.size) == (32, 224)
    stage = cfg.action_stage
    assert (cfg.action_encoder.dropout, stage.order.batch_size, stage.train.epochs) == (0.5, 64, 50)
    for train, warmup in ((stage.train, 2.5), (stage.self_train, 0.5)):
        wanted = OptimConfig(name="adamw", lr=3e-4, weight_decay=0.05, warmup_epochs=warmup, clip_norm=None)
        assert train.optim == wanted
    with torch.device("meta"):
        encoder = build_action_encoder(cfg.action_encoder, 48, start=False)
    assert round(count(encoder) / 1e6) == 97
    assert round(count(encoder, trained=True) / 1e6) == 11
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert all("adapter" in name or name.split(".")[-2] in {"norm", "fc", "backbone"} for name in trained)
    assert {"fc.weight", "backbone.norm.weight", "backbone.temporal_embedding"} <= trained
