"""The recipe `smoke` on a GPU: every stage, deterministic, twice with the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from finepseudo.training.checkpoint import load_weights
from jobs.cli.main import main

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.ray,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_run_on_a_gpu_reaches_its_report_and_repeats_bit_for_bit(tmp_path: Path) -> None:
    weights = []
    for name in ("one", "two"):
        assert main(["run", "--recipe", "smoke", "--name", name, f"out={tmp_path}", "resources.device=gpu"]) == 0
        assert (tmp_path / name / "report.html").is_file()
        weights.append([load_weights(p) for p in sorted((tmp_path / name).rglob("weights.safetensors"))])
    assert len(weights[0]) > 0
    for first, second in zip(*weights, strict=True):
        assert all(torch.equal(first[key], second[key]) for key in first)
