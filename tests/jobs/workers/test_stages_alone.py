"""The stages without Ray, as tests/gpu runs them on a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.jobs.stages_alone import run_stages


@pytest.mark.slow
def test_every_stage_runs_without_ray_and_repeats_bit_for_bit(tmp_path: Path) -> None:
    runs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        runs.append(run_stages(tmp_path / name, torch.device("cpu")))
    one, two = runs
    assert torch.equal(one["scores"], two["scores"])
    assert ((one["scores"] > 0) & (one["scores"] < 1)).all()
    assert torch.equal(one["scores"], one["voted"]), "a clip aligns by itself as it does in the pool"
    assert one["embedded"] == two["embedded"]
    for stage in ("pretrain", "frame", "action"):
        assert all(torch.equal(one[stage][name], two[stage][name]) for name in one[stage])
