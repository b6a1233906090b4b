"""What is said of a machine's GPUs: of a driver that answers, that breaks, that is not there; of torch and of DALI."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from jobs.config.recipes import load
from jobs.doctor import device

H100 = "NVIDIA H100, 550.54, 81559 MiB"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function: what nvidia-smi does (None: it is not there) and what torch sees of which CUDA."""

    def made(smi=None, cuda=None, gpus=0, right=True):
        monkeypatch.setenv("PATH", str(tmp_path))
        if smi is not None:
            (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{smi}\n")
            (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        ones = torch.ones
        monkeypatch.setattr(torch, "ones", lambda *shape, device: ones(*shape) * (1 if right else 2))

    return made


@pytest.mark.parametrize(
    ("smi", "wanted", "state", "words"),
    [
        (f"echo '{H100}'; echo '{H100}'", "auto", "ok", f"2 GPUs: {H100}"),
        ("echo 'Failed to initialize NVML'; exit 9", "cpu", "fail", "ends with 9: Failed to initialize NVML"),
        ("true", "auto", "warn", "the driver lists no GPU"),
        ("true", "gpu", "fail", "the driver lists no GPU"),
        ("true", "cpu", "ok", "resources.device=cpu needs none"),
        (None, "gpu", "fail", "no nvidia-smi here"),
    ],
)
def test_the_driver(machine, smi, wanted, state, words):
    machine(smi)
    found = device.driver(load("smoke", [f"resources.device={wanted}"]))
    assert (found.state, words in found.found) == (state, True), found


@pytest.mark.parametrize(
    ("about", "wanted", "state", "words"),
    [
        ({"cuda": "13.0", "gpus": 2}, "gpu", "ok", "CUDA 13.0, 2 GPUs compute"),
        ({"cuda": "13.0", "gpus": 2, "right": False}, "auto", "fail", "cuda:0 computes wrong numbers"),
        ({"smi": "true", "cuda": "12.8"}, "cpu", "fail", "(CUDA 12.8) sees no GPU"),
        ({}, "gpu", "fail", "sees no GPU"),
        ({}, "cpu", "ok", "needs none"),
    ],
)
def test_cuda(machine, about, wanted, state, words):
    machine(**about)
    found = device.cuda(load("smoke", [f"resources.device={wanted}"]))
    assert (found.state, words in found.found) == (state, True), found


def test_without_a_gpu_no_video_engine_is_asked(machine):
    machine()
    assert device.nvdec(load("smoke")).state == "skip"


@pytest.mark.parametrize(
    ("about", "installed", "state", "words"),
    [
        ({}, [], "ok", "not installed; without a GPU PyAV decodes"),
        ({"cuda": "12.8", "gpus": 1}, [], "warn", "pip install 'finepseudo[cuda12]'"),
        ({"cuda": "13.0", "gpus": 1}, ["nvidia-dali-cuda120"], "warn", "nvidia-dali-cuda120 beside torch's CUDA 13.0"),
        ({"cuda": "13.0", "gpus": 1}, ["nvidia-cublas", "nvidia-dali-cuda130"], "ok", "nvidia-dali-cuda130 2.4"),
        ({"cuda": "13.0"}, ["nvidia-dali-cuda120"], "ok", "nvidia-dali-cuda120 2.4"),
    ],
)
def test_dali_is_that_of_torchs_cuda(machine, monkeypatch, about, installed, state, words):
    machine(**about)
    monkeypatch.setattr(device.metadata, "packages_distributions", lambda: {"nvidia": installed} if installed else {})
    package = ModuleType("nvidia.dali")
    package.__version__ = "2.4"
    for name, module in (("nvidia", SimpleNamespace(dali=package)), ("nvidia.dali", package)):
        monkeypatch.setitem(sys.modules, name, module)
    found = device.dali()
    assert (found.state, words in f"{found.found} {found.todo}") == (state, True), found
