"""Batch normalisation as torch's; without a process group the collectives are the identity."""

import torch
from torch import nn

from finepseudo.distributed import SyncBatchNorm, gather_rows, global_mean, sum_across_ranks


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
