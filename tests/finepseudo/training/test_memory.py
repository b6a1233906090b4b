"""Saving memory: the same step with fewer activations, and state that is cut over workers and whole on disk."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn

from finepseudo.consistency.teacher import MeanTeacher
from finepseudo.distributed import gathered
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.training.config import MemoryConfig, OptimConfig
from finepseudo.training.memory import blocks, cut_like, cut_optimizer_state, save_memory, shard
from finepseudo.training.objectives import Objective, StepOutput
from finepseudo.training.optim import FiniteGuard, build_optimizer, clip_gradients, load_optimizer
from tests.finepseudo.batches import clip_batch, objective
from tests.ranks import two_ranks

STAGES = ("gitdl", "alignability", "cross_entropy")


def step(module, batch):
    """Return loss, gradients and buffers after a step, and the bytes of activations that it kept for its gradient."""
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    kept: dict[int, int] = {}

    def pack(x):
        if x.untyped_storage().data_ptr() not in own:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    torch.manual_seed(3)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = module({"labelled": batch}).loss
    loss.backward()
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return loss.detach(), gradients, dict(module.named_buffers()), sum(kept.values())


def assert_equal_steps(one, two, **close):
    torch.testing.assert_close(one[0], two[0], **close)
    for part in (1, 2):
        assert one[part].keys() == two[part].keys()
        for name in one[part]:
            torch.testing.assert_close(one[part][name], two[part][name], msg=name, **close)


@pytest.mark.parametrize("stage", STAGES)
def test_activations_computed_again_change_no_bit_and_are_not_kept(stage):
    batch = clip_batch(views=2 if stage == "gitdl" else 1, frames=8, size=32)
    plain, lean = objective(stage, dropout=0.3), objective(stage, dropout=0.3)
    names = list(lean.state_dict())
    save_memory(lean, MemoryConfig(recompute=True))
    assert list(lean.state_dict()) == names
    whole, saving = step(plain, batch), step(lean, batch)
    assert_equal_steps(whole, saving, rtol=0, atol=0)
    assert saving[3] < 0.7 * whole[3]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("clips", [1, 3, 100])
def test_a_batch_in_pieces_is_mined_as_one(stage, clips):
    batch = clip_batch(views=2 if stage == "gitdl" else 1, dtype=torch.float64)
    plain, lean = (objective(stage).double().eval() for _ in range(2))  # batch statistics are those of a piece
    save_memory(lean, MemoryConfig(micro_batch=clips))
    whole, pieces = step(plain, batch), step(lean, batch)
    assert_equal_steps(whole, pieces, rtol=1e-9, atol=1e-9)
    assert pieces[3] < 0.7 * whole[3] or clips == 100


def test_blocks_are_the_layers_of_lists_and_of_chains_that_are_alike_without_those_inside():
    network = nn.Module()
    network.blocks = nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)) for _ in range(3)])
    network.stem = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    network.frozen = nn.ModuleList([nn.Linear(2, 2).requires_grad_(False)])
    network.layer1 = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert blocks(network) == [*network.blocks, *network.layer1]


class WithTeacher(Objective):
    """A student that is trained and the teacher that follows it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = build_action_encoder(ActionEncoderConfig(variant="tiny", dropout=0.0), 3)
        self.teacher = MeanTeacher(self.encoder)

    def forward(self, batches):
        (batch,) = batches.values()
        loss = (self.encoder(batch.frames[:, 0]) - self.teacher.model(batch.frames[:, 0]) + 1).square().mean()
        return StepOutput(loss, {})

    def after_step(self, step, total):
        self.teacher.follow(self.encoder, 0.5)


def trained(sharded, state=None, steps=3):
    """Train some steps; return the whole state afterwards."""
    cfg, device = OptimConfig(lr=0.01, clip_norm=0.5), torch.device("cpu")
    module = WithTeacher()
    if sharded:
        save_memory(module, MemoryConfig(recompute=True))
        shard(module, device)
    optimizer = build_optimizer(module, cfg)
    guard = FiniteGuard(optimizer, device)
    if state:
        module.load_state_dict(cut_like(state["model"], module.state_dict()))
        load_optimizer(optimizer, cut_optimizer_state(copy.deepcopy(state["optimiser"]), optimizer))
    wrapped = nn.parallel.DistributedDataParallel(module) if dist.is_initialized() and not sharded else module
    for number in range(steps):
        optimizer.zero_grad()
        rank = dist.get_rank() if dist.is_initialized() else 0
        loss = wrapped({"labelled": clip_batch(clips=4, seed=10 * number + rank)}).loss
        loss.backward()
        guard.step(number + 1, loss.detach(), clip_gradients(module.parameters(), cfg))
        module.after_step(number + 1, steps)
    return copy.deepcopy(gathered({"model": module.state_dict(), "optimiser": optimizer.state_dict()}))


def worker(rank, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    copies = trained(False)
    cut = trained(True)
    states = {"copies": copies, "cut": cut, "copies-on": trained(False, copies), "cut-on": trained(True, copies)}
    states["cut-to-copies"] = trained(False, cut)
    if rank == 0:
        torch.save(states, f"{folder}/states.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    two_ranks(worker, str(folder))
    return torch.load(folder / "states.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize(("one", "two"), [("copies", "cut"), ("copies-on", "cut-on"), ("copies-on", "cut-to-copies")])
def test_state_cut_over_workers_trains_as_copies_do_and_either_goes_on_from_the_other(states, one, two):
    assert states[one]["optimiser"]["state"].keys() == states[two]["optimiser"]["state"].keys()
    torch.testing.assert_close(states[two], states[one], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_one_process_goes_on_from_a_state_of_two(states):
    before, after = states["cut"], trained(False, states["cut"], steps=1)
    name = next(iter(before["model"]))
    assert not torch.equal(after["model"][name], before["model"][name])
    assert after["optimiser"]["state"][0]["step"] == before["optimiser"]["state"][0]["step"] + 1
