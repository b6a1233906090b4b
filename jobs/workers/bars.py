"""The numbers of a pool in part files, the bar that is measured on them, and how right its labels should be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from finepseudo.methods.bars import BarConfig, adaptive_bar, calibrated_bar
from finepseudo.methods.base import AnyMethod, MethodConfig, Passes
from finepseudo.methods.labelling import label_rows, votes_on
from jobs.workers.part_files import matrix, of_keys, parts, read_parts
from shards.errors import UserError

Floats = npt.NDArray[np.float64]
Piece = tuple[list[str], np.ndarray[Any, Any] | None, Any, Any, Any, Passes | None]
"""Keys, scores, p_E, spread, valid, passes of some clips: what `label_rows` takes."""
READ = ("key", "p_E", "uncertainty", "valid")
PASSES = tuple(field.name for field in fields(Passes))
"""Columns of the embeddings that every vote reads, and those of MC-dropout."""


@dataclass(frozen=True, slots=True)
class PoolNumbers:
    """The part files of a pool."""

    embeddings: Path
    scores: Path | None
    n_classes: int
    by_part: bool
    passes: bool = False

    def of(self, keys: Iterable[str]) -> Iterator[Piece]:
        """Read the numbers of some clips, piece by piece."""
        wanted, found = frozenset(keys), parts(self.embeddings)
        for paths in [[path] for path in found] if self.by_part else [found]:
            table = read_parts(paths, [*READ, *(PASSES if self.passes else ())])
            table = table.filter(of_keys(table, wanted))
            names = table["key"].to_pylist()
            if not names:
                continue
            given = [self.scores / path.name for path in paths] if self.scores else None
            score = None if given is None else _scores_of(given, names, self.n_classes)
            passes = _passes_of(table) if self.passes else None
            spread, valid = table["uncertainty"].to_numpy(), table["valid"].to_numpy()
            yield names, score, matrix(table["p_E"]), spread, valid, passes


@dataclass(frozen=True, slots=True)
class MeasuredBar:
    """The bar of a round. values [C]: None for the method's constant; constant: that one.

    clips: held-out clips that were asked; precision: share of right labels among those of them that it accepts, None
    where it accepts none.
    """

    kind: str
    values: Floats | None
    constant: float | None
    clips: int
    precision: float | None

    def record(self, confidence: npt.NDArray[np.float32]) -> dict[str, Any]:
        """Say what the bar is and how right its labels should be; confidence: of the accepted ones, sums of p as 1."""
        found = [] if self.values is None else [float(value) for value in self.values if np.isfinite(value)]
        lowest, highest = (pick(found) if found else self.constant for pick in (min, max))
        by_confidence = float(confidence.mean()) if len(confidence) else None
        known = self.precision is not None
        return {
            "bar": {"kind": self.kind, "lowest": lowest, "highest": highest},
            "expected_precision": self.precision if known else by_confidence,
            "expected_from": f"{self.clips} held-out clips" if known else "confidence",
        }


def measured_bar(
    method: AnyMethod, cfg: MethodConfig, numbers: PoolNumbers, pool: frozenset[str], held_out: Mapping[str, int]
) -> MeasuredBar:
    """Measure the bar of a round where it is not the method's constant, and what held-out clips say of it.

    held_out: key -> label. UserError for a calibrated bar without such clips.
    """
    held = list(numbers.of(held_out))
    values, kind = None, cfg.bar if isinstance(cfg, BarConfig) else "fixed"
    if isinstance(cfg, BarConfig) and kind == "adaptive":
        seen = (votes_on(method, cfg, *piece)[1] for piece in numbers.of(pool))
        values = adaptive_bar(seen, by_class=cfg.bar_by_class)
    elif isinstance(cfg, BarConfig) and kind == "calibrated":
        confidence, right = _confidence(method, cfg, held, held_out)
        values = calibrated_bar(confidence, right, cfg.precision, numbers.n_classes)
    accepted = [row for piece in held for row in _accepted(method, cfg, piece, values)]
    right_ones = sum(held_out[key] == label for key, label in accepted)
    precision = right_ones / len(accepted) if accepted else None
    constant = None if kind != "fixed" else getattr(cfg, method.threshold or "", None)
    return MeasuredBar(kind, values, constant, sum(len(piece[0]) for piece in held), precision)


def _confidence(
    method: AnyMethod, cfg: MethodConfig, held: Sequence[Piece], truth: Mapping[str, int]
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Confidence [M] of the vote on held-out clips, and whether it is right [M]."""
    pieces = [votes_on(method, cfg, *piece) for piece in held]
    keys = [key for names, _ in pieces for key in names]
    if not keys:
        raise UserError(f"method.{method.name}.bar = calibrated: needs held-out labelled clips; set split.held_out=0.2")
    p = np.concatenate([p for _, p in pieces])
    return p.max(axis=1), p.argmax(axis=1) == np.array([truth[key] for key in keys])


def _accepted(method: AnyMethod, cfg: MethodConfig, piece: Piece, bar: Floats | None) -> Iterator[tuple[str, int]]:
    """Yield key and label of the clips of a piece that the method accepts."""
    table = label_rows(method, cfg, *piece, bar=bar)
    for key, label, accepted in zip(*(table[name].to_pylist() for name in ("key", "label", "accepted")), strict=True):
        if accepted:
            yield key, label


def _passes_of(table: pa.Table) -> Passes:
    return Passes(**{name: matrix(table[name]).astype(np.float64) for name in PASSES})


def _scores_of(paths: Sequence[Path], keys: Sequence[str], n_classes: int) -> np.ndarray[Any, Any]:
    """Look up the class scores [N, C] of `keys`; clips that could not be read have zeros (and are not valid)."""
    table = read_parts(paths, ["key", "scores"])
    places = pc.index_in(pa.array(keys, pa.string()), table["key"].combine_chunks()).to_numpy(zero_copy_only=False)
    found = ~np.isnan(places.astype(float))
    scores = np.zeros((len(keys), n_classes), np.float32)
    if found.any():
        scores[found] = matrix(table["scores"])[places[found].astype(np.int64)]
    return scores
