"""Refusals: each is a ValueError that names the argument."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from finepseudo.soft_dtw import (
    AlignmentBank,
    class_alignability,
    hard_path,
    soft_alignment,
    soft_dtw_cdist,
    soft_dtw_pairwise,
)

X = torch.randn(3, 4, 5)
BANK = AlignmentBank(X)

WRONG: list[tuple[str, Callable[[], object]]] = [
    ("u ", lambda: soft_dtw_cdist(X[0], BANK)),
    ("u ", lambda: soft_dtw_cdist(X.long(), BANK)),
    ("u ", lambda: soft_dtw_cdist(X[:, :0], BANK)),
    ("u ", lambda: soft_dtw_cdist(X[..., :4], BANK)),
    ("u ", lambda: soft_dtw_cdist(X.tolist(), BANK)),
    ("bank ", lambda: soft_dtw_cdist(X, X)),
    ("gamma ", lambda: soft_dtw_cdist(X, BANK, 0.0)),
    ("gamma ", lambda: soft_dtw_cdist(X, BANK, -1.0)),
    ("gamma ", lambda: soft_dtw_pairwise(X, gamma=float("nan"))),
    ("gamma ", lambda: soft_alignment(X[0], X[1], 0)),
    ("lengths ", lambda: soft_dtw_cdist(X, BANK, lengths=torch.tensor([1, 2]))),
    ("lengths ", lambda: soft_dtw_cdist(X, BANK, lengths=torch.tensor([1, 2, 5]))),
    ("lengths ", lambda: soft_dtw_pairwise(X, lengths=torch.tensor([0, 2, 4]))),
    ("lengths ", lambda: soft_dtw_pairwise(X, lengths=torch.tensor([1.0, 2.0, 4.0]))),
    ("y_lengths ", lambda: soft_dtw_pairwise(X, y_lengths=torch.tensor([1, 2, 4]))),
    ("y_lengths ", lambda: soft_dtw_pairwise(X, X, y_lengths=torch.tensor([1, 2, 9]))),
    ("normalize ", lambda: soft_dtw_cdist(X, BANK, normalize="t")),
    ("backend ", lambda: soft_dtw_cdist(X, BANK, backend="cuda")),
    ("backend ", lambda: soft_dtw_pairwise(X, backend="cpu-mmx")),
    ("backend ", lambda: soft_dtw_pairwise(X.double(), backend="cpu")),
    ("embeddings ", lambda: AlignmentBank(X[:0])),
    ("embeddings ", lambda: AlignmentBank(X.bool())),
    ("lengths ", lambda: AlignmentBank(X, torch.tensor([1, 2, 9]))),
    ("labels ", lambda: AlignmentBank(X, labels=torch.tensor([0, 1]))),
    ("labels ", lambda: AlignmentBank(X, labels=torch.tensor([0, -1, 1]))),
    ("labels ", lambda: AlignmentBank(X, labels=torch.tensor([0, 2, 1]), n_classes=2)),
    ("dtype ", lambda: AlignmentBank(X, dtype=torch.int8)),
    ("bank ", lambda: class_alignability(X, BANK, torch.exp)),
    ("y ", lambda: soft_dtw_pairwise(X, X[..., :4])),
    ("y ", lambda: hard_path(X[0], X[0, :, :4])),
    ("x ", lambda: soft_alignment(X, X)),
]


@pytest.mark.parametrize(("name", "call"), WRONG)
def test_refusals_name_the_argument(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}"):
        call()


def test_an_empty_pool_is_an_empty_table() -> None:
    bank = AlignmentBank(X, labels=torch.tensor([0, 1, 1]))
    assert soft_dtw_cdist(X[:0], bank).shape == (0, 3)
    assert class_alignability(X[:0], bank, torch.exp).shape == (0, 2)
    assert soft_dtw_pairwise(X[:0]).shape == (0, 0)


def test_results_keep_the_recursion_in_32_bits_under_autocast() -> None:
    plain = soft_dtw_pairwise(X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(soft_dtw_pairwise(X), plain)
        assert torch.equal(soft_dtw_cdist(X, BANK), soft_dtw_cdist(X.clone(), BANK))
        assert soft_dtw_pairwise(X.bfloat16()).dtype == torch.float32
    a = X.bfloat16().requires_grad_()
    soft_dtw_pairwise(a).sum().backward()
    assert a.grad.dtype == torch.bfloat16
