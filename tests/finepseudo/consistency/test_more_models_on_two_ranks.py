"""Objectives of more than one model: two ranks compute the loss and the gradients of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from finepseudo.consistency.contrast import DistinctiveObjective, InvariantObjective
from finepseudo.consistency.distil import BalancedObjective, Weights
from finepseudo.consistency.side import ByKey
from finepseudo.consistency.two_stream import TwoStream, TwoStreamObjective
from finepseudo.distributed import data_parallel
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.training.config import CrossEntropyConfig
from tests.finepseudo.consistency.test_objective import CASES, clips, cut, step
from tests.ranks import assert_equal_to_one, in_group, two_ranks

CLASSES = 3
KINDS = ("invariant", "distinctive", "balanced", "two_stream")
PARTS = TwoStream(tau=0.34, agreement=1.0, alignment=0.5, contrast=0.5, temperature=0.2)


def made(kind: str) -> torch.nn.Module:
    """An objective with equal weights in every process."""
    torch.manual_seed(0)
    cfg = ActionEncoderConfig(variant="tiny", dropout=0.0)
    one, two, three = (build_action_encoder(cfg, CLASSES) for _ in range(3))
    objective: torch.nn.Module
    match kind:
        case "invariant":
            objective = InvariantObjective(one, 0.2, seed=0)
        case "distinctive":
            objective = DistinctiveObjective(one, 0.2, seed=0, spans=True)
        case "balanced":
            similarity = ByKey([f"clip{i}" for i in range(8)], np.linspace(0, 1, 8, dtype=np.float32)[:, None])
            weights = Weights(labelled=5.0, unlabelled=10.0)
            objective = BalancedObjective(one, (two, three), similarity, CrossEntropyConfig(), weights)
        case _:
            objective = TwoStreamObjective(one, two, CrossEntropyConfig(), PARTS)
    return objective.double()


def batches(kind: str, invalid: tuple[int, ...] = ()) -> dict:
    both = clips(8, ("weak", "strong"), False, invalid, seed=1)
    if kind in {"invariant", "distinctive"}:
        return {"videos": both}
    pool = clips(8, ("only",), False, invalid, seed=1) if kind == "balanced" else both
    return {"labelled": clips(4, ("only",), True), "unlabelled": pool}


def worker(rank: int, port: int, folder: str) -> None:
    with in_group(rank, port):
        for kind in KINDS:
            for name, options in CASES.items():
                both = batches(kind, **options)
                mine = {n: cut(b, rank * len(b.keys) // 2, (rank + 1) * len(b.keys) // 2) for n, b in both.items()}
                module = data_parallel(made(kind))
                torch.save(step(module, mine), f"{folder}/{kind}-{name}-{rank}.pt")
                del module  # DDP's reducer must not outlive the group


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    two_ranks(worker, str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_equal_one(halves: Path, kind: str, case: str) -> None:
    whole = step(made(kind), batches(kind, **CASES[case]))
    assert_equal_to_one(halves, f"{kind}-{case}", whole)
