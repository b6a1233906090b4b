"""Which decoder reads the clips, and the one that always can: PyAV.

Three ways lead to the same frames and into the same DALI graph (`shards.read.dali_graph`):
`pyav` decodes here, on the CPU, every codec, and `shards.read.resize` crops and resizes; `dali-cpu` leaves VP8, VP9 and
MJPEG to DALI's own decoder (it has no other codec on a CPU); `dali-gpu` leaves decoding to the GPU's video engine.
`dali+pyav` goes two of them at once: DALI on the device, and PyAV on the cores; `shards.read.shares` says who gets how
many clips. The frames of the two differ by some grey levels, and who is given a clip follows the clock, so no run that
is to repeat bit for bit reads so. The engine alone is nobody's choice but the user's: for clips of some seconds and
340 x 256 pixels DALI takes 60 to 100 ms each on an H100, where a core takes 35 (`finepseudo bench data`); most of it
goes into another decoder for each clip that does not fill its macroblocks (`shards.write.normalise`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from shards.errors import SampleError, UserError
from shards.read.config import BOTH, Decode
from shards.read.nvdec import VideoEngine, ask_engine
from shards.sources.probe import StrictVideo, open_video

DECODERS = get_args(Decode)
DALI_CPU_CODECS = frozenset({"vp8", "vp9", "mjpeg"})
DALI_GPU_CODECS = DALI_CPU_CODECS | {"h264", "hevc", "mpeg4", "av1"}
CLOSED_GOP_PROFILES = frozenset({"h264", "vp9"})
"""Shard profiles without B-frames and open groups: decoding may start at any key frame."""

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DecoderChoice:
    """The decoder that reads the clips, and why; print it so that a run says how it read."""

    name: str
    reason: str
    dali_device: Literal["cpu", "mixed"] | None = None
    """What DALI decodes on, in its own words: `mixed` is the GPU; None where PyAV alone decodes."""
    engine: VideoEngine | None = None
    """What the GPU decodes; PyAV reads the other clips."""

    def takes(self, codec: str, width: int, height: int) -> bool:
        """Tell whether DALI can decode a clip of this codec and frame size; PyAV does where not.

        codec: as `shards.write.normalise` names it; a GPU takes none with pixels other than 4:2:0 of 8 bits.
        """
        if self.dali_device == "mixed":
            known = codec in DALI_GPU_CODECS
            return known and (self.engine is None or self.engine.takes(codec, width, height))
        return self.by_dali

    @property
    def by_dali(self) -> bool:
        """Say whether DALI takes the encoded bytes."""
        return self.dali_device is not None

    @property
    def shared(self) -> bool:
        """Say whether PyAV decodes clips that DALI could decode too."""
        return self.name == BOTH

    def __str__(self) -> str:
        """Write it for a log line."""
        return f"{self.name} ({self.reason})"


def choose_decoder(
    requested: str, codecs: Iterable[str], device: torch.device, *, repeatable: bool = False
) -> DecoderChoice:
    """Settle `auto`, and refuse what cannot work before anything is built: UserError names codec and alternative.

    repeatable: a clip must have the same bits whenever it is read.
    """
    if requested not in DECODERS:
        raise UserError(f"decode = {requested}: must be one of {', '.join(DECODERS)}")
    found = sorted({codec.partition(" ")[0] for codec in codecs})
    if requested == "auto":
        return _best_decoder(found, device, repeatable)
    if requested == "pyav":
        return DecoderChoice("pyav", "asked for")
    if requested == BOTH and repeatable:
        raise UserError(
            f"decode = {BOTH}: who decodes a clip follows the clock, so bits do not repeat; use auto or pyav"
        )
    if requested == "dali-cpu" or (requested == BOTH and device.type != "cuda"):
        _refuse_codecs(requested, found, DALI_CPU_CODECS, "decode = pyav, or write the shards with profile vp9")
        return DecoderChoice(requested, "asked for", "cpu")
    engine = _gpu_decoder(device)
    if isinstance(engine, str):
        raise UserError(f"decode = {requested}: {engine}; use decode = auto or pyav")
    _refuse_codecs(requested, found, DALI_GPU_CODECS, "decode = pyav, or write the shards with profile h264")
    if found and engine.codecs.keys().isdisjoint(found):
        named = ", ".join(found)
        raise UserError(f"decode = {requested}: the video engine of {device} has no {named}; use decode = auto or pyav")
    return DecoderChoice(requested, "asked for", "mixed", engine)


def _best_decoder(found: Sequence[str], device: torch.device, repeatable: bool) -> DecoderChoice:
    """Choose for `auto`: the video engine beside PyAV, else DALI's CPU decoder, else PyAV."""
    named = ", ".join(found) or "no clips"
    engine = _gpu_decoder(device)
    lack = engine if isinstance(engine, str) else "no GPU codec"
    if not isinstance(engine, str) and (not found or not engine.codecs.keys().isdisjoint(found)):
        if not repeatable:
            rest = ", ".join(codec for codec in found if codec not in engine.codecs)
            alone = f"; {rest} by PyAV alone" if rest else ""
            return DecoderChoice(BOTH, f"{named} by the GPU's video engine and PyAV at once{alone}", "mixed", engine)
        lack = "deterministic: the video engine beside PyAV does not repeat bits"
    if DALI_CPU_CODECS.issuperset(found):
        return DecoderChoice("dali-cpu", f"{named}; {lack}", "cpu")
    return DecoderChoice("pyav", f"{named}; {lack}, DALI on a CPU has {', '.join(sorted(DALI_CPU_CODECS))}")


def decode_frames(key: str, data: bytes, wanted: Sequence[int], *, closed_gops: bool) -> Frames:
    """Decode the frames with these indices (ascending, no repeats): uint8 RGB [len(wanted), H, W, 3].

    Raises SampleError as `wanted_frames` does.
    """
    images = wanted_frames(key, data, wanted, closed_gops=closed_gops)
    first = next(images)
    out = np.empty((len(wanted), *first.shape), np.uint8)
    out[0] = first
    for place, image in enumerate(images, start=1):
        out[place] = image
    return out


def wanted_frames(key: str, data: bytes, wanted: Sequence[int], *, closed_gops: bool) -> Iterator[Frames]:
    """Yield the frames with these indices (ascending, no repeats), uint8 RGB [H, W, 3], all of one size.

    Decoding stops after the last wanted frame; with `closed_gops` groups of pictures without one are skipped.
    Raises SampleError with a reason when the clip does not decode or is shorter than that.
    """
    scaler = VideoReformatter()
    shape: tuple[int, ...] = ()
    place = 0
    with open_video(key, io.BytesIO(data), len(data)) as video:
        walk = _needed_groups(video, wanted) if closed_gops else enumerate(video.frames())
        for index, frame in walk:
            if index != wanted[place]:
                continue
            image = np.asarray(scaler.reformat(frame, format="rgb24", threads=1).to_ndarray(), np.uint8)
            if image.shape != (shape or image.shape):
                raise SampleError(key, "size_changed", f"frame {index} is {image.shape}, before {shape}")
            shape = image.shape
            yield image
            place += 1
            if place == len(wanted):
                return
    raise SampleError(key, "too_few_frames", f"frame {wanted[place]} is wanted and does not exist")


def _needed_groups(video: StrictVideo, wanted: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Decode only groups of pictures that hold a wanted frame, each up to its last one. Needs one frame a packet."""
    try:
        for first, packets in _groups(video, wanted[-1]):
            inside = [w for w in wanted if first <= w < first + len(packets)]
            if not inside:
                continue
            for index, packet in enumerate(packets[: inside[-1] - first + 1], start=first):
                frames = packet.decode()
                if len(frames) != 1 or frames[0].is_corrupt:
                    raise SampleError(video.key, "decode_error", f"{len(frames)} sound frames from packet {index}")
                yield index, frames[0]
    except (FFmpegError, ValueError) as error:
        raise SampleError(video.key, "decode_error", str(error)) from error


def _groups(video: StrictVideo, last: int) -> Iterator[tuple[int, list[Any]]]:
    """Yield (index of the key frame, packets up to the next key frame) as far as frame `last`."""
    first = 0
    packets: list[Any] = []
    for packet in video.container.demux(video.stream):
        if not packet.size:
            continue
        if packet.is_keyframe and packets:
            yield first, packets
            first, packets = first + len(packets), []
            if first > last:
                return
        packets.append(packet)
    if packets:
        yield first, packets


def _refuse_codecs(name: str, found: Sequence[str], known: frozenset[str], way_out: str) -> None:
    strange = [codec for codec in found if codec not in known]
    if strange:
        raise UserError(
            f"decode = {name} cannot decode {', '.join(strange)} (it has {', '.join(sorted(known))}); use {way_out}"
        )


def _gpu_decoder(device: torch.device) -> VideoEngine | str:
    """Find the video engine of a device, or say why there is none."""
    if device.type != "cuda":
        return f"the device is {device.type}"
    if not torch.cuda.is_available():
        return "no CUDA device is visible"
    return ask_engine(device)
