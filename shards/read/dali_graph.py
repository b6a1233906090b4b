"""The one DALI graph that turns clips into encoder input: on a GPU whoever decodes, on a CPU where DALI does.

encoded bytes -> DALI's decoder -> per view: pick frames -> crop and resize, or views that `shards.read.resize` made of
frames decoded elsewhere; then colours -> blur -> erase -> channel order -> mirror, normalise -> float [T, C, H, W].
DALI draws no random number: all of them are inputs.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shards.errors import UserError
from shards.read.augment import AugmentParams
from shards.read.config import AugmentConfig
from shards.read.faults import judged

_LOG = logging.getLogger(__name__)
_Node = Any  # DALI has no type annotations
_Pipeline = Any
_Output = Any
_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One clip on its way into the graph.

    data: one array of encoded bytes [N], or an array of pixels [T, size, size, 3] for each place, uint8; ids: int64
    [U], the different frames to decode, ascending; orders: int32 [T] for each take, places in `ids`; params: one set
    for each place; height, width: of the encoded frames in pixels. Takes and places are those of `GraphSpec`.
    """

    data: Sequence[npt.NDArray[np.uint8]]
    ids: npt.NDArray[np.int64]
    orders: Sequence[npt.NDArray[np.int32]]
    params: Sequence[AugmentParams]
    height: int
    width: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphSpec:
    """What a graph is built for: largest batch, threads, views of a clip, source and device."""

    batch_size: int
    threads: int
    takes: Sequence[AugmentConfig]
    """What becomes of each choice of frames. It has `crops` places: the outputs, take after take."""
    random: bool
    """Training: with the colour, blur and erase steps that the augmentation may take."""
    decoder: Literal["cpu", "mixed"] | None
    """DALI decodes, on the CPU or on the GPU, crops and resizes; None: that is done and views are fed."""
    device: torch.device

    @property
    def all_on_cpu(self) -> bool:
        """Say whether views made on the CPU stay there: torch is faster at that (`shards.read.torch_views`)."""
        return self.decoder is None and self.device.type == "cpu"

    @property
    def branches(self) -> bool:
        """Say whether some step is taken in some samples only."""
        return self.random and any(max(cfg.jitter, cfg.gray, cfg.blur, cfg.erase) > 0 for cfg in self.takes)

    @property
    def places(self) -> list[AugmentConfig]:
        """List the augmentation of every place."""
        return at_places(self.takes, self.takes)


def at_places(takes: Sequence[AugmentConfig], values: Sequence[_Value]) -> list[_Value]:
    """Give every place the value of its take."""
    return [value for cfg, value in zip(takes, values, strict=True) for _ in range(cfg.crops)]


class ClipGraph:
    """Runs batches of samples through the graph. Not for use from two threads at once."""

    def __init__(self, spec: GraphSpec) -> None:
        """Build the graph. UserError when DALI is not installed."""
        self.spec = spec
        self._dali = import_dali()
        self._pipe: _Pipeline | None = self._build()

    def run(self, samples: Sequence[Sample], out: Sequence[Sequence[Tensor]]) -> None:
        """Transform clip i into out[i], for each place a float32 [T, C, size, size] on the device.

        Raises DecodeError when DALI cannot decode one of them, and what else `shards.faults` makes of an error; the
        graph may be used on.
        """
        if self._pipe is None:
            self._pipe = self._build()
        try:
            for name, values in self._inputs(samples).items():
                self._pipe.feed_input(name, values)
            for place, output in enumerate(self._pipe.run()):
                for clip, pixels in zip(out, self._pixels(output), strict=True):
                    clip[place].copy_(pixels)
            if self.spec.device.type == "cuda":  # from here on DALI may write to its buffers again
                torch.cuda.current_stream(self.spec.device).synchronize()
        except (RuntimeError, MemoryError) as error:
            self._pipe = None  # a pipeline that has failed is not to be trusted
            raise judged(error, self.spec.device) from error

    def _inputs(self, samples: Sequence[Sample]) -> dict[str, list[npt.NDArray[Any]]]:
        """Name the values of every input node, one a sample."""
        inputs: dict[str, list[npt.NDArray[Any]]] = {}
        if self.spec.decoder:
            inputs["clip"] = [s.data[0] for s in samples]
            inputs["ids"] = [s.ids.astype(np.int32) for s in samples]
            for take in range(len(self.spec.takes)):
                inputs[f"order{take}"] = [s.orders[take] for s in samples]
        for place, cfg in enumerate(self.spec.places):
            params = [s.params[place] for s in samples]
            if self.spec.decoder:
                windows = [p.window(s.height, s.width) for p, s in zip(params, samples, strict=True)]
                inputs[f"start{place}"] = [start.astype(np.float32) for start, _ in windows]
                inputs[f"end{place}"] = [end.astype(np.float32) for _, end in windows]
            else:
                inputs[f"view{place}"] = [s.data[place] for s in samples]
            if self.spec.random:
                inputs |= _random_inputs(cfg, place, params)
        return inputs

    def _build(self) -> _Pipeline:
        gpu = self.spec.device.type == "cuda"
        device_id = (self.spec.device.index or 0) if gpu else None
        # DALI translates the Python of a graph with branches: a quarter of a second, spent where there are any
        make = self._dali.pipeline_def(enable_conditionals=self.spec.branches)(_define)
        pipe = make(
            self.spec,
            batch_size=self.spec.batch_size,
            num_threads=self.spec.threads,
            device_id=device_id,
            exec_dynamic=True,  # operators that do not wait for each other run at once; errors still come from run()
            exec_pipelined=True,
            exec_async=True,
            prefetch_queue_depth=1,
        )
        pipe.build()
        _remove_translations()
        return pipe

    def _pixels(self, output: _Output) -> Tensor:
        """See a DALI output as a tensor [N, T, C, size, size]; on a CPU in place, good until the next run."""
        if self.spec.device.type == "cpu":
            return torch.from_numpy(np.asarray(output.as_tensor()))
        from nvidia.dali.plugin.pytorch import feed_ndarray

        dense = output.as_tensor()
        tensor = torch.empty(tuple(dense.shape()), dtype=torch.float32, device=self.spec.device)
        feed_ndarray(dense, tensor, cuda_stream=torch.cuda.current_stream(self.spec.device))
        return tensor


def _random_inputs(
    cfg: AugmentConfig, place: int, params: Sequence[AugmentParams]
) -> dict[str, list[npt.NDArray[Any]]]:
    inputs: dict[str, list[npt.NDArray[Any]]] = {f"flip{place}": [np.array(p.flip, np.int32) for p in params]}
    if cfg.jitter or cfg.gray:
        inputs[f"coloured{place}"] = [np.array(p.coloured, np.bool_) for p in params]
        inputs[f"matrix{place}"] = [np.ascontiguousarray(p.colour[:, :3]) for p in params]
        inputs[f"offset{place}"] = [np.ascontiguousarray(p.colour[:, 3]) for p in params]
    if cfg.blur:
        inputs[f"blurred{place}"] = [np.array(p.sigma > 0, np.bool_) for p in params]
        inputs[f"sigma{place}"] = [np.array(p.sigma, np.float32) for p in params]
    if cfg.erase:
        inputs[f"erased{place}"] = [np.array(bool(p.erase.any()), np.bool_) for p in params]
        inputs[f"corner{place}"] = [p.erase[:2] for p in params]
        inputs[f"extent{place}"] = [p.erase[2:] for p in params]
    return inputs


def import_dali() -> ModuleType:
    """Import DALI, or say how to install it."""
    try:
        from nvidia import dali
    except ImportError as error:
        raise UserError(
            f"NVIDIA DALI cannot be imported ({error}); reading clips onto a GPU needs it: pip install "
            "'finepseudo[cuda13]' (or cuda12 for CUDA 12 drivers), in a clone: make env CUDA=13"
        ) from error
    module: ModuleType = dali
    return module


@cache
def has_dali() -> bool:
    """Tell whether DALI is installed; once in a process, a line says what takes its place where it is not."""
    try:
        import_dali()
    except UserError:
        _LOG.warning("NVIDIA DALI is not installed: PyAV decodes and torch makes the views, on this CPU as good")
        return False
    return True


def without_dali(requested: str, by_dali: bool, device: torch.device) -> bool:
    """Tell whether clips are read without DALI: UserError where a GPU or the decoder asked for needs it.

    by_dali: DALI would decode them, were it there; where it would not, a CPU has nothing to import it for.
    """
    if device.type == "cuda" or requested.startswith("dali"):
        import_dali()
        return False
    return not by_dali or not has_dali()


def _remove_translations() -> None:
    """Remove what DALI translated, which is loaded now, from the system's temporary folder.

    DALI itself leaves the bytecode, and the source too when the process ends by a signal or is a child of Python's.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("__autograph_generated_file"):
            for file in (module.__file__, module.__cached__):
                if file:
                    Path(file).unlink(missing_ok=True)


def _define(spec: GraphSpec) -> tuple[_Node, ...]:
    """Define the graph: an output for each place."""
    views = _decoded_views(spec) if spec.decoder else _given_views(spec)
    places = spec.places
    return tuple(_view(pixels, places[place], place, random=spec.random) for place, pixels in enumerate(views))


def _decoded_views(spec: GraphSpec) -> list[_Node]:
    """Decode the different frames of the clip, then pick, crop and resize those of each place."""
    from nvidia.dali import fn, types

    encoded = fn.external_source(name="clip", dtype=types.UINT8, ndim=1)
    # pad_mode none: a frame that does not exist is an error, every other mode would invent it. affine: else the threads
    # of every graph would be bound to the same first cores, where PyAV's are busy too
    clip = fn.decoders.video(
        encoded, frames=_integers("ids", 1), pad_mode="none", affine=False, device=spec.decoder, name="decoder"
    )
    if spec.decoder == "cpu" and spec.device.type == "cuda":
        clip = clip.gpu()
    views: list[_Node] = []
    for take, cfg in enumerate(spec.takes):
        frames = fn.sequence_rearrange(clip, new_order=_integers(f"order{take}", 1))
        for place in range(len(views), len(views) + cfg.crops):
            window = {"roi_start": _floats(f"start{place}", 1), "roi_end": _floats(f"end{place}", 1)}
            views.append(fn.resize(frames, size=[cfg.size, cfg.size], **window))
    return views


def _given_views(spec: GraphSpec) -> list[_Node]:
    """Bring views that are cropped and resized already to the device."""
    from nvidia.dali import fn, types

    places = range(len(spec.places))
    views = [fn.external_source(name=f"view{place}", dtype=types.UINT8, ndim=4, layout="FHWC") for place in places]
    return [view.gpu() for view in views] if spec.device.type == "cuda" else views


def _view(x: _Node, cfg: AugmentConfig, place: int, *, random: bool) -> _Node:
    """Transform the pixels [T, size, size, 3] of one place into float [T, C, size, size]."""
    from nvidia.dali import fn, types

    mirror: _Node = 0
    if random:
        x = _recoloured(x, cfg, place)
        mirror = _integers(f"flip{place}", 0)
    if cfg.channels == "bgr":
        x = fn.color_space_conversion(x, image_type=types.RGB, output_type=types.BGR)
    return fn.crop_mirror_normalize(
        x,
        mirror=mirror,
        mean=[255 * m for m in cfg.mean],
        std=[255 * d for d in cfg.std],
        dtype=types.FLOAT,
        output_layout="FCHW",
    )


def _recoloured(x: _Node, cfg: AugmentConfig, place: int) -> _Node:
    """Change colours, blur and erase, each only in the samples whose parameters ask for it.

    An `if` on a data node becomes a branch per sample (conditionals of DALI); on anything else it is Python's.
    """
    from nvidia.dali import fn, types

    if cfg.jitter > 0 or cfg.gray > 0:
        matrix, offset = _floats(f"matrix{place}", 2), _floats(f"offset{place}", 1)
        if _flag(f"coloured{place}"):
            x = fn.coord_transform(x, M=matrix, T=offset, dtype=types.UINT8)
    if cfg.blur > 0:
        sigma = _floats(f"sigma{place}", 0)
        if _flag(f"blurred{place}"):
            x = fn.gaussian_blur(x, sigma=sigma)
    if cfg.erase > 0:
        corner, extent = _floats(f"corner{place}", 1), _floats(f"extent{place}", 1)
        if _flag(f"erased{place}"):
            x = fn.erase(x, anchor=corner, shape=extent, axis_names="HW", normalized=True)
    return x


def _floats(name: str, ndim: int) -> _Node:
    from nvidia.dali import fn, types

    return fn.external_source(name=name, dtype=types.FLOAT, ndim=ndim)


def _integers(name: str, ndim: int) -> _Node:
    from nvidia.dali import fn, types

    return fn.external_source(name=name, dtype=types.INT32, ndim=ndim)


def _flag(name: str) -> _Node:
    from nvidia.dali import fn, types

    return fn.external_source(name=name, dtype=types.BOOL, ndim=0)
