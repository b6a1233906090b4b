"""Batch normalisation of two ranks on one GPU, by torch's fused kernels, against the whole batch on a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from finepseudo import batch_norm
from finepseudo.distributed import SyncBatchNorm
from tests.finepseudo.test_batch_norm import CASES, DTYPES, data, fresh, normalise
from tests.ranks import two_ranks

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def worker(rank: int, port: int, folder: str) -> None:
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)  # NCCL wants a GPU a rank
    for case, (shape, _) in CASES.items():
        for dtype in DTYPES:
            x, dy = (part[rank].cuda() for part in data(case, dtype))
            assert batch_norm.fused(x) == (len(shape) > 0)
            layouts = [x] + ([x.contiguous(memory_format=torch.channels_last_3d)] if x.dim() == 5 else [])
            found = [normalise(fresh(SyncBatchNorm, dtype).cuda(), y, dy) for y in layouts]
            found = [{name: values.cpu() for name, values in one.items()} for one in found]
            torch.save(found, f"{folder}/{case}-{dtype}-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    two_ranks(worker, str(folder))
    return folder


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_on_a_gpu_give_the_numbers_of_the_whole_batch(results: Path, case: str, dtype: str) -> None:
    ranks = [torch.load(results / f"{case}-{dtype}-{rank}.pt", weights_only=True) for rank in range(2)]
    if sum(CASES[case][1]) < 2:
        assert all(values.isfinite().all() for rank in ranks for one in rank for values in one.values())
        return
    x, dy = (torch.cat(part) for part in data(case, dtype))
    whole = normalise(fresh({2: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[x.dim()], dtype), x, dy)
    tight = {"rtol": 2 * DTYPES[dtype], "atol": 2 * DTYPES[dtype]}
    for one, other in zip(*ranks, strict=True):
        for name in ("y", "dx"):
            torch.testing.assert_close(torch.cat([one[name], other[name]]), whole[name], **tight, msg=name)
        for name in ("weight", "bias"):
            torch.testing.assert_close(one[name] + other[name], whole[name], **tight, msg=name)
        for name in ("mean", "variance"):
            torch.testing.assert_close(one[name], whole[name], **tight, msg=name)
