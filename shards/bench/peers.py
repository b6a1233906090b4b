"""The same job done by other libraries from loose files: some frames of a clip, their centre, resized, normalised.

Peers are optional; one that is not installed, or whose libraries do not load here, is left out with its reason.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from shards.read.config import IMAGENET_MEAN, IMAGENET_STD

Peer = Callable[[Path, Sequence[int], int], Tensor]
"""(file, ascending frame numbers, size) -> float32 [T, 3, size, size]."""
_MEAN = 255 * torch.tensor(IMAGENET_MEAN)[:, None, None]
_STD = 255 * torch.tensor(IMAGENET_STD)[:, None, None]


def peers() -> tuple[dict[str, Peer], dict[str, str]]:
    """Give the peers that work here, and of the others why they do not."""
    found: dict[str, Peer] = {}
    missing: dict[str, str] = {}
    for name, make in {"OpenCV": _opencv, "torchcodec": _torchcodec, "torchvision": _torchvision}.items():
        try:
            found[name] = make()
        except ModuleNotFoundError:
            missing[name] = "not installed"
        except (ImportError, OSError, RuntimeError) as error:
            missing[name] = f"does not load: {str(error).strip().splitlines()[0][:60]}"
        except AttributeError:
            missing[name] = "this version reads no video"
    return found, missing


def _opencv() -> Peer:
    cv2: Any = importlib.import_module("cv2")
    cv2.setNumThreads(1)

    def read(path: Path, wanted: Sequence[int], size: int) -> Tensor:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        out = torch.empty(len(wanted), 3, size, size)
        place = 0
        for index in range(wanted[-1] + 1):
            capture.grab()
            if index == wanted[place]:
                image = capture.retrieve()[1]
                rows, columns = _square(*image.shape[:2])
                small = cv2.resize(image[rows, columns], (size, size), interpolation=cv2.INTER_AREA)
                out[place] = torch.from_numpy(cv2.cvtColor(small, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
                place += 1
        return out.sub_(_MEAN).div_(_STD)

    return read


def _torchcodec() -> Peer:
    decoder: Any = importlib.import_module("torchcodec.decoders").VideoDecoder

    def read(path: Path, wanted: Sequence[int], size: int) -> Tensor:
        video = decoder(str(path), num_ffmpeg_threads=1, seek_mode="approximate")
        return _finished(video.get_frames_at(list(wanted)).data, size)

    return read


def _torchvision() -> Peer:
    read_video: Any = importlib.import_module("torchvision.io").read_video

    def read(path: Path, wanted: Sequence[int], size: int) -> Tensor:
        video: Tensor = read_video(str(path), pts_unit="sec", output_format="TCHW")[0]
        return _finished(video[list(wanted)], size)

    return read


def _finished(frames: Tensor, size: int) -> Tensor:
    """Crop, resize and normalise uint8 [T, 3, H, W]."""
    rows, columns = _square(*frames.shape[2:])
    small = F.interpolate(frames[..., rows, columns], size=(size, size), mode="bilinear", antialias=True)
    return small.float().sub_(_MEAN).div_(_STD)


def _square(height: int, width: int) -> tuple[slice, slice]:
    """Find the centre square."""
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return slice(top, top + side), slice(left, left + side)
