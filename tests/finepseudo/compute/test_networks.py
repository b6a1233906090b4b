"""Precision, layout, compilation and determinism mean one thing, whichever network is computed."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from finepseudo.compute import networks
from finepseudo.compute.networks import channels_last, compiled, computed_in, placed, prepare_torch
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.training import objectives
from shards.errors import UserError
from tests.finepseudo.batches import clip_batch, objective

CPU = torch.device("cpu")


def flags() -> tuple[bool, bool, bool]:
    """Give TF32 of products, TF32 of convolutions, and autocast."""
    cudnn = torch.backends.cudnn.allow_tf32
    return torch.backends.cuda.matmul.allow_tf32, cudnn, torch.is_autocast_enabled("cpu")


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    prepare_torch(threads, deterministic)


INSIDE = {"fp32": (False, False, False), "tf32": (True, True, False), "bf16": (False, False, True)}


@pytest.mark.parametrize("process", INSIDE)
@pytest.mark.parametrize("precision", INSIDE)
def test_a_precision_holds_for_products_and_convolutions_and_ends(process: str, precision: str) -> None:
    prepare_torch(1, False, process)  # type: ignore[arg-type]
    outside = (process == "tf32", process == "tf32", False)  # autocast is for the networks alone
    assert flags() == outside
    with computed_in(precision, CPU):  # type: ignore[arg-type]
        assert flags() == INSIDE[precision]
        with computed_in("fp32", CPU):
            assert flags() == INSIDE["fp32"]
        assert flags() == INSIDE[precision]
    assert flags() == outside


@pytest.mark.parametrize(("stage", "name"), [("gitdl", "gitdl_loss"), ("alignability", "global_distances")])
def test_losses_and_alignment_stay_in_float32(monkeypatch: pytest.MonkeyPatch, stage: str, name: str) -> None:
    seen, real = [], getattr(objectives, name)

    def spy(*args: object, **values: object) -> object:
        seen.append((flags(), args[0].dtype))  # type: ignore[attr-defined]
        return real(*args, **values)

    monkeypatch.setattr(objectives, name, spy)
    for precision in ("tf32", "bf16"):
        prepare_torch(1, False, precision)  # type: ignore[arg-type]
        module = objective(stage)
        object.__setattr__(module.encoder.cfg, "precision", precision)
        module({"one": clip_batch(views=2 if stage == "gitdl" else 1)})
    assert seen == [(INSIDE["fp32"], torch.float32)] * 2


def test_deterministic_turns_off_what_is_chosen_by_timing_and_can_be_taken_back() -> None:
    layer = nn.Linear(2, 2)
    prepare_torch(1, True)
    assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.deterministic
    assert torch.are_deterministic_algorithms_enabled()
    assert not networks.fast_layout(torch.device("cuda"))
    assert compiled(layer.forward, True) == layer.forward
    prepare_torch(1, False)
    assert torch.backends.cudnn.benchmark
    assert not torch.are_deterministic_algorithms_enabled()
    assert networks.fast_layout(torch.device("cuda"))
    assert not networks.fast_layout(CPU)


@pytest.mark.parametrize("encoder", ["action", "frame"])
def test_channels_last_changes_the_layout_of_every_convolution_and_no_number(
    monkeypatch: pytest.MonkeyPatch, encoder: str
) -> None:
    frames = torch.randn(3, 8, 3, 24, 24)
    results, seen = [], []
    if torch.get_num_threads() == 1:
        pytest.skip("on one thread torch's CPU takes another convolution, which answers in the plain layout")
    for fast in (False, True):
        monkeypatch.setattr(networks, "fast_layout", lambda device, fast=fast: fast)
        torch.manual_seed(0)
        network = build(encoder)
        placed(network, CPU)
        for layer in network.modules():
            if fast and isinstance(layer, nn.Conv2d | nn.Conv3d):
                layer.register_forward_hook(lambda m, x, y: seen.extend([x[0], m.weight, y]))
        out = network(frames)
        out.sum().backward()
        results.append([out.detach(), *(p.grad for p in network.parameters() if p.grad is not None)])
    assert len(seen) >= 12
    assert all(x.is_contiguous(memory_format=networks._LAST[x.dim()]) for x in seen)
    for plain, last in zip(*results, strict=True):
        torch.testing.assert_close(last, plain, rtol=1e-3, atol=1e-4)


def build(encoder: str, **values: object) -> nn.Module:
    if encoder == "action":
        return build_action_encoder(ActionEncoderConfig(variant="tiny", dropout=0.0, **values), 4)  # type: ignore[arg-type]
    return build_frame_encoder(FrameEncoderConfig(variant="tiny", dropout=0.0, train_length=8, **values))  # type: ignore[arg-type]


def test_a_layout_is_for_images_and_video_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "fast_layout", lambda device: True)
    x = torch.randn(2, 3, 4)
    assert channels_last(x) is x


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler: torch.compile cannot work here")
@pytest.mark.parametrize("encoder", ["action", "frame"])
def test_a_compiled_encoder_trains_as_the_plain_one(encoder: str) -> None:
    frames, results = torch.randn(3, 8, 3, 24, 24), []
    for wanted in (False, True):
        torch.manual_seed(0)
        network = build(encoder, compile=wanted)
        out = network(frames)
        (out * torch.linspace(-1, 1, out.shape[-1])).sum().backward()
        gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        results.append({"out": out.detach(), **gradients, **dict(network.state_dict())})
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler: torch.compile cannot work here")
def test_a_copy_of_a_compiled_encoder_computes_with_its_own_weights() -> None:
    """As the teacher of a student."""
    frames = torch.randn(2, 8, 3, 24, 24)
    network = build("action", compile=True).eval()
    with torch.no_grad():
        before = network(frames)
        teacher = copy.deepcopy(network)
        for weight in network.parameters():
            weight.zero_()
        assert network(frames).abs().max() == 0
        torch.testing.assert_close(teacher(frames), before)


def test_compile_without_a_compiler_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(UserError, match="set compile to false"):
        build("action", compile=True)


def test_deterministic_steps_have_the_same_bits_whether_new_memory_is_filled_or_not() -> None:
    found = []
    for fill in (True, False):
        prepare_torch(1, True)
        assert not torch.utils.deterministic.fill_uninitialized_memory
        torch.utils.deterministic.fill_uninitialized_memory = fill
        torch.manual_seed(0)
        trained = objective("alignability", dropout=0.1)
        trained({"one": clip_batch(views=1, invalid=(2,))}).loss.backward()
        found.append([p.grad for p in trained.parameters() if p.grad is not None])
    assert len(found[0]) > 0
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
