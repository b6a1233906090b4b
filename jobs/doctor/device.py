"""The GPU of this machine: driver, CUDA as torch sees it, what its video engine decodes, DALI."""

from __future__ import annotations

import shutil
import subprocess
from importlib import metadata

import torch

from jobs.config.run import RunConfig
from jobs.doctor.checks import Finding
from shards.read.nvdec import VideoEngine, ask_engine

QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
STORED = {"h264": "h264", "vp9": "vp9"}
"""Profile of shards -> codec that the video engine has to know."""
PORTABLE = "mount the driver's video libraries into the container (NVIDIA_DRIVER_CAPABILITIES=compute,utility,video)"


def driver(cfg: RunConfig) -> Finding:
    """Ask the driver which GPUs there are."""
    if shutil.which(QUERY[0]) is None:
        return _no_gpu(cfg, "no nvidia-smi here")
    done = subprocess.run(QUERY, check=False, capture_output=True, text=True, timeout=60)
    if done.returncode:
        return Finding("fail", f"nvidia-smi ends with {done.returncode}: {done.stdout.strip()[:200]}", "ask the admins")
    gpus = done.stdout.strip().splitlines()
    return Finding("ok", f"{len(gpus)} GPUs: {gpus[0]}") if gpus else _no_gpu(cfg, "the driver lists no GPU")


def _no_gpu(cfg: RunConfig, found: str) -> Finding:
    match cfg.resources.device:
        case "cpu":
            return Finding("ok", f"{found}; resources.device=cpu needs none")
        case "gpu":
            return Finding("fail", found, "run this on a GPU node, or set resources.device=cpu")
    return Finding("warn", found, "run this on a GPU node, or expect training on CPUs")


def cuda(cfg: RunConfig) -> Finding:
    """Compute something on every GPU that torch sees."""
    built = torch.version.cuda
    if not torch.cuda.is_available():
        if shutil.which(QUERY[0]):
            found = f"torch {torch.__version__} (CUDA {built}) sees no GPU"
            return Finding("fail", found, "install a torch for this driver's CUDA")
        return _no_gpu(cfg, f"torch {torch.__version__} sees no GPU")
    for index in range(torch.cuda.device_count()):
        side = torch.ones(64, 64, device=f"cuda:{index}")
        if float((side @ side).sum()) != 64.0**3:
            return Finding("fail", f"cuda:{index} computes wrong numbers", "do not use this node")
    return Finding("ok", f"torch {torch.__version__}, CUDA {built}, {torch.cuda.device_count()} GPUs compute")


def nvdec(cfg: RunConfig) -> Finding:
    """Ask the driver which codecs the video engine decodes."""
    if not torch.cuda.is_available():
        return Finding("skip", "no GPU")
    return judge_engine(ask_engine(torch.device("cuda")), cfg.shards.profile)


def judge_engine(engine: VideoEngine | str, profile: str) -> Finding:
    """Compare the codecs of an engine with the one that shards of this profile hold."""
    if isinstance(engine, str):
        return Finding("warn", f"{engine}: PyAV decodes on the CPUs", PORTABLE)
    found, needed = ", ".join(sorted(engine.codecs)), STORED.get(profile)
    if needed and needed not in engine.codecs:
        return Finding("warn", f"{found}, not {needed}: PyAV decodes on the CPUs", "give workers more CPUs")
    return Finding("ok", found)


def dali() -> Finding:
    """Import DALI where it is installed, and compare its CUDA with torch's."""
    cuda_here = torch.version.cuda if torch.cuda.is_available() else None
    major = (cuda_here or "").split(".")[0]
    installed = [name for name in metadata.packages_distributions().get("nvidia", []) if name.startswith("nvidia-dali")]
    if not installed:
        if not major:
            return Finding("ok", "not installed; without a GPU PyAV decodes")
        return Finding("warn", "not installed: PyAV decodes on the CPUs", f"pip install 'finepseudo[cuda{major}]'")
    import nvidia.dali as package

    if major and not any(name.endswith(f"cuda{major}0") for name in installed):
        return Finding(
            "warn", f"{installed[0]} beside torch's CUDA {cuda_here}", f"pip install 'finepseudo[cuda{major}]'"
        )
    return Finding("ok", f"{installed[0]} {package.__version__}")
