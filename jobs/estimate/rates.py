"""Rates that were measured: read from the package's file, or from a short run on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finepseudo.run_folder.yaml_text import read_yaml

FILE = Path(__file__).with_name("rates.yaml")
Doubt = tuple[str, str]
"""What was not measured, and as what it is taken: `("gitdl", "of tiny: as of vtn")`."""
BYTES_16 = {"tf32": "fp32"}
"""A precision that was not measured -> a slower one that was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """Clips (of frames, `pairs`: pairs) a second of one device, its memory in GiB, and what was not measured of it."""

    per_second: float
    gib: float = 0.0
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Rates of a GPU (or of what takes its place) and of a core of the processors beside it."""

    device: str
    source: str
    train: Mapping[str, Mapping[str, Any]]
    embed: Mapping[str, Mapping[str, Any]]
    align: Mapping[int, Mapping[str, float]]
    decode_ms: Mapping[int, float] = field(default_factory=dict)
    write_ms: float = 0.0

    def training(self, objective: str, variant: str, precision: str, pixels: int) -> Rate:
        """Of one training step; `pixels` of a clip: frames x side x side."""
        return _scaled(self.train[objective], objective, variant, precision, pixels)

    def embedding(self, encoder: str, variant: str, precision: str, pixels: int) -> Rate:
        """Of an encoder without gradients."""
        return _scaled(self.embed[encoder], f"f_{'A' if encoder == 'frame' else 'E'}", variant, precision, pixels)

    def alignment(self, frames: int, dtype: str) -> Rate:
        """Of pairs; beside the measured lengths in proportion to the cells, T squared."""
        nearest = min(self.align, key=lambda known: abs(known - frames))
        row = self.align[nearest]
        doubts: list[Doubt] = []
        if nearest != frames:
            doubts.append(("alignment", f"at T {frames}: in proportion to the cells of T {nearest}"))
        if dtype not in row:
            doubts.append(("alignment", f"in {dtype}: as in float32"))
        per_second = 1e6 * row.get(dtype, row["float32"]) * (nearest / frames) ** 2
        return Rate(per_second=per_second, doubts=tuple(doubts))

    def decoding_s(self, frames: int, side: int) -> float:
        """Seconds of a core for the frames of one clip."""
        nearest = min(self.decode_ms, key=lambda known: abs(known - side))
        return self.decode_ms[nearest] / 1e3 * frames / 16


def _scaled(row: Mapping[str, Any], name: str, variant: str, precision: str, pixels: int) -> Rate:
    measured = row["frames"] * row["side"] ** 2
    known = precision if precision in row else BYTES_16.get(precision, "fp32")
    value = row[known]
    clips, gib = value if isinstance(value, (list, tuple)) else (value, 0.0)
    doubts: list[Doubt] = []
    if known != precision:
        doubts.append((name, f"in {precision}: as in {known}"))
    if row["variant"] != variant:
        doubts.append((name, f"of {variant}: as of {row['variant']}"))
    if measured != pixels:
        doubts.append((name, "of other frames or another size: in proportion to the pixels"))
    return Rate(per_second=clips * measured / pixels, gib=gib * pixels / measured, doubts=tuple(doubts))


def shipped() -> Rates:
    """Read the package's file: a GPU with the processors that were measured beside it."""
    gpu, core = read_yaml(FILE)
    return Rates(
        device=gpu["device"],
        source=f"{gpu['from']}; reading and writing: {core['device']} ({core['from']})",
        train=gpu["train"],
        embed=gpu["embed"],
        align=gpu["align"],
        decode_ms=core["decode_ms"],
        write_ms=core["write_ms"],
    )
