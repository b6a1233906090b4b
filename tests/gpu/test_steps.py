"""Host waits of a training step on a GPU, counted by torch's own sync debug mode."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from finepseudo.training.config import OptimConfig
from jobs.config.training import TrainConfig
from jobs.workers.train_loop import Loop, LoopJob
from shards.types import only_view
from tests.finepseudo.batches import clip_batch, objective
from tests.jobs.workers.test_host_waits import Same

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("stage", ["gitdl", "alignability", "cross_entropy"])
def test_a_step_on_a_gpu_waits_for_nothing(tmp_path: Path, stage: str) -> None:
    device = torch.device("cuda", 0)
    train = TrainConfig(steps=20, optim=OptimConfig(), log_every=20, checkpoint_every=20)
    job = LoopJob(run=tmp_path, folder=tmp_path, stage=stage, train=train, seed=1, tags={})
    batch = clip_batch(views=2 if stage == "gitdl" else 1, invalid=(2,))
    small = {name: getattr(batch, name).pin_memory() for name in ("n_frames", "labels", "pseudo")}
    batch = replace(batch, views=only_view(batch.frames.to(device), batch.frame_ids.pin_memory()), **small)
    loop = Loop(job, objective(stage, dropout=0.1), Same(batch, 20), device=device)
    loop.objective.train()
    for _ in range(2):  # kernels are compiled and the optimiser makes its state
        loop._train_step({"one": batch.to(device)}, 0.0)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _ in range(3):
                loop._train_step({"one": batch.to(device)}, 0.0)
                assert loop._after_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [f"{w.filename}:{w.lineno}: {w.message}" for w in seen if "synchroniz" in str(w.message)]
    assert waits == []
