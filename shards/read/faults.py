"""Whose fault an error of DALI or torch is while clips are read: the clip's, the memory's or the device's.

Only what DALI's video decoder says about a clip makes the clip bad. DALI raises RuntimeError for everything and torch's
errors are RuntimeErrors too, so the text decides; whether a GPU still works, the GPU is asked.
"""

from __future__ import annotations

import re

import torch

from shards.errors import UserError

_DECODER = re.compile(r"operator `?\S*decoders(\.|__)video", re.IGNORECASE)
_MEMORY = re.compile(
    r"out of memory|bad_alloc|allocation failed|can(no|')t allocate|cudaErrorMemoryAllocation|OUT_OF_MEMORY",
    re.IGNORECASE,
)
_HEAD = "encountered:"  # what DALI writes before an operator's own words; above them stand paths of the source
_NOISE = ("Critical error", "Current pipeline", "C++ context")


class DecodeError(RuntimeError):
    """DALI's decoder could not decode one of the clips it was given; the text says why."""


def judged(error: Exception, device: torch.device) -> Exception:
    """Give the error to raise in place of one that came up while clips were decoded and transformed.

    DecodeError for a clip's fault, UserError for too little memory, RuntimeError for a device that has failed (a new
    process may well work); the error itself where it is none of these.
    """
    told = str(error).rpartition(_HEAD)[2]
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or _MEMORY.search(told):
        return UserError(
            f"out of memory while clips were read on {device} ({_line(told) or type(error).__name__}); no clip is "
            "broken: lower order.batch_size (embed.batch, evaluate.batch), reading.prefetch, sampling.frames or "
            "augment.size"
        )
    if isinstance(error, torch.AcceleratorError) or not _works(device):
        return RuntimeError(
            f"the device {device} failed while clips were read ({_line(told)}); no clip is broken: look at the GPU "
            "(nvidia-smi, dmesg), start again, and lower reading.threads if it comes back"
        )
    if _DECODER.search(str(error)):
        return DecodeError(_line(told))
    return error


def _works(device: torch.device) -> bool:
    """Ask a GPU for the error that an earlier kernel left; after one, every call fails."""
    if device.type != "cuda":
        return True
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return False
    return True


def _line(told: str) -> str:
    """Pick the line that says most."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if not line.startswith(_NOISE)), "")
