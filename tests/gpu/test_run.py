"""Every stage on a GPU, deterministic, twice with the same bits: as calls in this process, and as a run under Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from finepseudo.training.checkpoint import load_weights

for package in ("av", "webdataset", "nvidia.dali"):
    pytest.importorskip(package)

from jobs.bench.gpu.parts import installed
from tests.jobs.stages_alone import run_stages

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize(
    "overrides", [("deterministic=true",), ("deterministic=false", "frame_encoder.precision=bf16")]
)
def test_the_stages_run_on_a_gpu_without_ray(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    runs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        runs.append(run_stages(tmp_path / name, torch.device("cuda", 0), overrides))
    one, two = runs
    assert ((one["scores"] > 0) & (one["scores"] < 1)).all()
    if "deterministic=true" in overrides:
        assert torch.equal(one["scores"], two["scores"])
        for stage in ("pretrain", "frame", "action"):
            assert all(torch.equal(one[stage][name], two[stage][name]) for name in one[stage])


@pytest.mark.ray
def test_a_run_on_a_gpu_reaches_its_report_and_repeats_bit_for_bit(tmp_path: Path) -> None:
    if not installed("ray"):
        pytest.skip("ray is not installed")
    # side by side, each with a Ray of its own: most of a run is the start of its workers
    command = [sys.executable, "-m", "jobs", "run", "--recipe", "smoke", f"out={tmp_path}", "resources.device=gpu"]
    runs = {name: subprocess.Popen([*command, "--name", name], cwd=ROOT) for name in ("one", "two")}
    assert [run.wait() for run in runs.values()] == [0, 0]
    weights = []
    for name in runs:
        assert (tmp_path / name / "report.html").is_file()
        weights.append([load_weights(p) for p in sorted((tmp_path / name).rglob("weights.safetensors"))])
    assert len(weights[0]) > 0
    for first, second in zip(*weights, strict=True):
        assert all(torch.equal(first[key], second[key]) for key in first)
