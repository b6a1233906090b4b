"""Classify videos with an exported run: `python load.py frames.npy`. Needs torch, numpy and safetensors alone."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent


def load(name: str = "action_encoder") -> torch.nn.Module:
    """Give a network of normalised frames [B, T, 3, S, S]: to logits [B, C], `frame_encoder` to vectors [B, T, F]."""
    network = torch.export.load(HERE / f"{name}.pt2").module()
    network.load_state_dict(load_file(HERE / f"{name}.safetensors"))
    return network


def chosen(n: int, *, views: int, frames: int, policy: str, stride: int) -> np.ndarray:
    """Pick the frames [views, T] of a video of n frames."""
    short = n < (frames if policy == "uniform" else (frames - 1) * stride + 1)
    if short:
        return np.stack([np.rint(np.linspace(0, n - 1, frames)).astype(int)] * views)
    if policy == "uniform":
        edges = np.arange(frames + 1) * n // frames
        return np.stack([edges[:-1] + (2 * v + 1) * np.diff(edges) // (2 * views) for v in range(views)])
    slack = n - ((frames - 1) * stride + 1)
    starts = np.rint(np.linspace(0, slack, views)).astype(int) if views > 1 else np.array([slack // 2])
    return starts[:, None] + stride * np.arange(frames)


def prepare(video: np.ndarray, name: str = "action_encoder") -> torch.Tensor:
    """Make what a network sees of a video, uint8 RGB [N, H, W, 3], every frame of it: [V, T, 3, S, S]."""
    want = json.loads((HERE / "preprocessing.json").read_text())[name]
    height, width = video.shape[1:3]
    side, out = min(height, width), []
    for place in want["crops"]:
        top, left = (int(np.rint((length - side) * place)) for length in (height, width))
        square = torch.from_numpy(video[:, top : top + side, left : left + side].copy()).permute(0, 3, 1, 2)
        for ids in chosen(len(video), **want["sampling"]):
            size = (want["size"], want["size"])
            out.append(torch.nn.functional.interpolate(square[ids], size=size, mode="bilinear", antialias=True))
    frames = torch.stack(out).float() / 255
    mean, std = (torch.tensor(want[key])[:, None, None] for key in ("mean", "std"))
    normalised: torch.Tensor = ((frames.flip(2) if want["channels"] == "bgr" else frames) - mean) / std
    return normalised


@torch.inference_mode()
def classify(video: np.ndarray) -> torch.Tensor:
    """Give the probability of each class, of classes.json, for a video."""
    p: torch.Tensor = load()(prepare(video)).softmax(-1).mean(0)
    return p


if __name__ == "__main__":
    found = classify(np.load(sys.argv[1], allow_pickle=False))
    names = json.loads((HERE / "classes.json").read_text())
    for place in found.argsort(descending=True)[:5].tolist():
        print(f"{names[place]}\t{found[place]:.4f}")  # noqa: T201 - a script of the user's
