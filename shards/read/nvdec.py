"""What a GPU's video engine (NVDEC) decodes: the driver is asked for each codec, with the sizes it takes.

The struct is CUVIDDECODECAPS of NVIDIA's Video Codec SDK (cuviddec.h), filled in by `cuvidGetDecoderCaps`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch

from shards.sources.probe import MACROBLOCK

LIBRARY = "libnvcuvid.so.1"
CODECS = {"mpeg4": 2, "h264": 4, "mjpeg": 5, "hevc": 8, "vp8": 9, "vp9": 10, "av1": 11}
"""Codec -> cudaVideoCodec."""
_YUV420 = 1
_BLOCKS = (8, MACROBLOCK)
"""Pixels that the codecs' images are stored in multiples of."""


class _Caps(ctypes.Structure):
    _fields_ = (
        ("codec", ctypes.c_int),
        ("chroma", ctypes.c_int),
        ("bits_minus_8", ctypes.c_uint),
        ("reserved1", ctypes.c_uint * 3),
        ("supported", ctypes.c_ubyte),
        ("engines", ctypes.c_ubyte),
        ("output_formats", ctypes.c_ushort),
        ("max_width", ctypes.c_uint),
        ("max_height", ctypes.c_uint),
        ("max_macroblocks", ctypes.c_uint),
        ("min_width", ctypes.c_ushort),
        ("min_height", ctypes.c_ushort),
        ("histogram", ctypes.c_ubyte * 4),
        ("reserved3", ctypes.c_uint * 10),
    )


@dataclass(frozen=True, slots=True)
class CodecLimits:
    """What the engine takes of one codec, 4:2:0 with 8 bits: sizes in pixels, and how many engines there are."""

    width: tuple[int, int]
    height: tuple[int, int]
    macroblocks: int
    engines: int


@dataclass(frozen=True, slots=True)
class VideoEngine:
    """The codecs that a GPU decodes, each with its limits."""

    codecs: Mapping[str, CodecLimits]

    def takes(self, codec: str, width: int, height: int) -> bool:
        """Tell whether a clip of this codec and frame size can be decoded."""
        limits = self.codecs.get(codec)
        if limits is None:
            return False
        blocks = -(-width // MACROBLOCK) * -(-height // MACROBLOCK)
        inside = limits.width[0] <= width <= limits.width[1] and limits.height[0] <= height <= limits.height[1]
        return inside and blocks <= limits.macroblocks


def mistaken(width: int, height: int, sizes: Collection[tuple[int, int]]) -> bool:
    """Tell whether DALI may take the decoder of a clip of another of these sizes for that of this clip.

    DALI keeps decoders by the size that is shown and looks them up by the size that is stored, in whole blocks. One
    made for images that fill it gives surfaces of that height, in which DALI then looks for the colours of a lower
    image at the wrong place.
    """
    stored = ((-(-width // block) * block, -(-height // block) * block) for block in _BLOCKS)
    return any(height < size[1] and size in sizes for size in stored)


def ask_engine(device: torch.device) -> VideoEngine | str:
    """Ask the driver what the device decodes; where nothing can be asked, say why."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return f"the driver's video library {LIBRARY} is missing"
    if device.type == "cuda":
        torch.zeros(1, device=device)  # the driver answers for the CUDA context of this thread
    found = {codec: limits for codec in CODECS if (limits := _limits(library, codec)) is not None}
    return VideoEngine(found) if found else f"the video engine of {device} decodes nothing; is it part of this GPU?"


def _limits(library: ctypes.CDLL, codec: str) -> CodecLimits | None:
    caps = _Caps(codec=CODECS[codec], chroma=_YUV420)
    if library.cuvidGetDecoderCaps(ctypes.byref(caps)) != 0 or not caps.supported:
        return None
    return CodecLimits(
        width=(caps.min_width, caps.max_width),
        height=(caps.min_height, caps.max_height),
        macroblocks=caps.max_macroblocks,
        engines=caps.engines,
    )
