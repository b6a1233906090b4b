"""Batch normalisation as torch's; without a process group the collectives are the identity."""

import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from finepseudo import distributed
from finepseudo.distributed import SyncBatchNorm, data_parallel, gather_rows, global_mean, sum_across_ranks


def test_sync_batch_norm_is_torchs_in_one_process():
    theirs, mine = nn.BatchNorm2d(5), SyncBatchNorm(5)
    mine.load_state_dict(theirs.state_dict())
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        x = torch.randn(4, 5, 3, 2, generator=generator) * 3 + 1
        torch.testing.assert_close(mine(x), theirs(x))
    torch.testing.assert_close(mine.state_dict(), theirs.state_dict())
    theirs.load_state_dict(mine.state_dict())
    mine.eval()
    theirs.eval()
    torch.testing.assert_close(mine(x), theirs(x))


def test_sync_batch_norm_takes_one_row_and_none():
    norm = SyncBatchNorm(4)
    assert norm(torch.rand(1, 4)).isfinite().all()
    assert norm(torch.rand(0, 4)).shape == (0, 4)
    assert torch.equal(norm.running_mean, torch.zeros(4))


def test_collectives_without_a_group():
    x = torch.arange(3.0)
    assert sum_across_ranks(x) is x and gather_rows(x) is x
    assert global_mean(x, torch.tensor([True, False, True])) == 1
    assert global_mean(x, torch.zeros(3, dtype=torch.bool)) == 0


def test_buffers_are_left_to_the_module_without_a_warning(tmp_path: Path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            wrapped = data_parallel(nn.BatchNorm1d(3))
        assert wrapped.broadcast_buffers is False and wrapped.find_unused_parameters is True
        del wrapped  # DDP's reducer must not outlive the group
    finally:
        dist.destroy_process_group()


def test_an_older_torch_gets_the_flag_it_knows(monkeypatch: pytest.MonkeyPatch):
    def older(module: nn.Module, broadcast_buffers: bool = True, find_unused_parameters: bool = False):
        return module, broadcast_buffers, find_unused_parameters

    monkeypatch.setattr(distributed, "DistributedDataParallel", older)
    module = nn.Linear(1, 1)
    assert data_parallel(module) == (module, False, True)
