"""The trained encoders as files: safetensors, a torch.export program and, where its packages are, ONNX.

A program is the network without this package: its parts and their order. Each file is run against the network it was
made of before it counts. All of it computes in float32.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from finepseudo.methods.base import AnyMethod
from finepseudo.run_folder.files import sha256_file, write_json
from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from finepseudo.training.checkpoint import save_weights
from jobs.config.run import RunConfig
from jobs.pipeline.export import loader
from jobs.pipeline.export.preprocessing import preprocessing
from jobs.pipeline.predict.trained import aligned_round, newest_round
from jobs.workers.labelling import read_truth
from jobs.workers.models import trained_action_encoder, trained_frame_encoder
from shards.errors import UserError
from shards.files import check_writable, disk_errors

TOLERANCE = 1e-4
"""Largest difference of an exported file from its network, of numbers of the size of 1."""
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
LOADER = "load.py"


def export_run(cfg: RunConfig, run: RunPaths, out: Path, *, seed: int | None, method: str | None) -> list[str]:
    """Write everything that the newest encoders need to `out`, or nothing; return what there is to say, line by line.

    UserError when nothing is trained, or a written file answers otherwise than its network.
    """
    seed = cfg.seeds[0] if seed is None else seed
    plain = {name: replace(getattr(cfg, name), compile=False, precision="fp32") for name in ENCODERS}
    cfg = replace(cfg, **plain)
    found, number = newest_round(cfg, run, seed, method)
    _, classes = read_truth(run.clips)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out) as temporary:
        place = Path(temporary)
        made: dict[str, dict[str, Any]] = {}
        said: list[str] = []
        for name, (network, weights, shape) in _networks(cfg, run, seed, (found, number), len(classes)).items():
            said += write_network(
                network, place / name, torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
            )
            made[name] = {
                "input": ["batch", *shape],
                "variant": getattr(cfg, name).variant,
                "weights": str(weights.relative_to(run.root)),
                "weights_sha256": sha256_file(weights),
            }
        write_json(place / "classes.json", list(classes))
        write_json(place / "preprocessing.json", preprocessing(cfg, frame_encoder="frame_encoder" in made))
        about = {"run": run.root.name, "seed": seed, "method": found.name, "round": number, "precision": "fp32"}
        write_json(place / "config.json", {**about, "torch": torch.__version__, "encoders": made})
        shutil.copyfile(loader.__file__, place / LOADER)
        written = sorted(place.iterdir())
        for path in written:
            check_writable(out / path.name)  # all of them before the first
        for path in written:
            path.replace(out / path.name)
    return [*said, *([] if can_onnx() else [NO_ONNX])]


ENCODERS = ("action_encoder", "frame_encoder")
NO_ONNX = f"no ONNX: {', '.join(ONNX_PACKAGES)} are needed (pip install 'finepseudo[onnx]'); the rest is written"


def can_onnx() -> bool:
    """Tell whether the packages that ONNX needs are here."""
    return all(importlib.util.find_spec(name) is not None for name in ONNX_PACKAGES)


def _networks(
    cfg: RunConfig, run: RunPaths, seed: int, trained: tuple[AnyMethod, int], n_classes: int
) -> dict[str, tuple[nn.Module, Path, tuple[int, ...]]]:
    """Load the encoders: network, its file of weights, shape [T, 3, S, S] of what it sees."""
    method, number = trained
    weights = run.action_encoder(seed, method.name, number) / WEIGHTS
    action = trained_action_encoder(cfg, weights, n_classes, method.name if number else None)
    looks = {"action_encoder": cfg.test_input(), "frame_encoder": cfg.frame_input}
    shapes = {name: (i.sampling.frames, 3, i.augment.size, i.augment.size) for name, i in looks.items()}
    found: dict[str, tuple[nn.Module, Path, tuple[int, ...]]] = {
        "action_encoder": (action, weights, shapes["action_encoder"])
    }
    last = aligned_round(run, seed, method, number)
    if last is not None:
        weights = run.frame_encoder(seed, method.name, last) / WEIGHTS
        found["frame_encoder"] = trained_frame_encoder(cfg, weights), weights, shapes["frame_encoder"]
    return found


def write_network(network: nn.Module, path: Path, example: Tensor) -> Iterator[str]:
    """Write one network in every form and compare each with it; say how far they are apart."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad(), _plain_layers():
        expected = network(example)
        batch = torch.export.Dim("batch", min=1, max=4096)
        program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},), strict=False)
        save_weights(path.with_suffix(".safetensors"), dict(network.state_dict()))
        torch.export.save(program, path.with_suffix(".pt2"))
        again = torch.export.load(path.with_suffix(".pt2")).module()
        yield _same(path.with_suffix(".pt2"), again(example), expected)
        if can_onnx():
            target = path.with_suffix(".onnx")
            yield _same(target, _onnx(program, target)(example), expected)


@contextmanager
def _plain_layers() -> Iterator[None]:
    """Trace attention as the products it is made of: torch's fused layer is an operator that others do not know."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _onnx(program: torch.export.ExportedProgram, path: Path) -> Callable[[Tensor], Tensor]:
    """Write an ONNX file, weights inside, and give what onnxruntime makes of it."""
    import onnxruntime

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it names every package of operators that is not here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(program, (), str(path), external_data=False, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda frames: torch.from_numpy(session.run(None, {name: frames.numpy()})[0])


def _same(path: Path, found: Tensor, expected: Tensor) -> str:
    """Say how far a file is from its network. UserError where it is too far."""
    apart = float((found - expected).abs().max() / expected.abs().max().clamp(min=1))
    if not apart <= TOLERANCE:
        raise UserError(
            f"export: {path.name}: answers {apart:.1e} from its network, more than {TOLERANCE:.0e}; not written"
        )
    return f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {apart:.1e} from the run's encoder"


def config_text(out: Path) -> str:
    """Read what was exported, for a line at the end."""
    about = json.loads((out / "config.json").read_text(encoding="utf-8"))
    return f"{about['method']}, seed {about['seed']}, round {about['round']}"
