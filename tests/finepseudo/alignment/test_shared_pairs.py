"""Pairs shared out among ranks: together they are the whole D, symmetric, and each rank has about as many."""

from __future__ import annotations

import pytest
import torch

from finepseudo.alignment.shared_pairs import places, share
from finepseudo.soft_dtw import soft_dtw_pairwise


@pytest.mark.parametrize("world", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("size", [1, 3])
def test_the_shares_of_all_ranks_are_every_pair_once(world: int, size: int) -> None:
    u = torch.randn(world * size, 5, 6, generator=torch.Generator().manual_seed(world), dtype=torch.float64)
    u.requires_grad_()
    rows = torch.cat([share(u, rank, world, 0.1) for rank in range(world)])
    found, whole = rows.flatten()[places(world, size, u.device)], soft_dtw_pairwise(u, gamma=0.1)
    torch.testing.assert_close(found, whole)
    assert torch.equal(found, found.T)
    weight = torch.randn(len(u), len(u), dtype=torch.float64)
    ours, theirs = (torch.autograd.grad(d, u, weight, retain_graph=True)[0] for d in (found, whole))
    torch.testing.assert_close(ours, theirs)
    assert rows.shape[1] <= (world / 2 + 1) * size
