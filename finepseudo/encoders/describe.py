"""What a checkpoint is and which encoders it fits (`finepseudo weights FILE`); whether an encoder can start at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from finepseudo.encoders.action_encoder import ActionEncoder
from finepseudo.encoders.building import Config, Network
from finepseudo.encoders.checkpoint_files import read_checkpoint
from finepseudo.encoders.config import OWN, RUN, ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.contract import Kind, Published
from finepseudo.encoders.frame_encoder import FrameEncoder
from finepseudo.encoders.table import BACKBONES
from finepseudo.encoders.weights import Fit, fit, fitted, known_to
from shards.errors import UserError

PARTS: Mapping[Kind, str] = {"frame": "image", "action": "backbone"}
"""The part of an encoder of a run by whose name its file is known."""
SHOWN = 3
"""Problems of a file that are named; the others are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """One row and kind whose layout knows the file: how it fits, or why it cannot be told."""

    key: str
    about: str
    fit: Fit | None
    refusal: str = ""

    @property
    def encoder(self) -> str:
        """Give the part of the key that says which encoder."""
        return self.key.partition(" ")[0]

    def line(self) -> str:
        """Say it in one line."""
        if self.fit is None:
            return f"no    {self.key}: {self.refusal}"
        read = f"{self.about} ({self.fit.layout.name}" + (f", below {self.fit.prefix})" if self.fit.prefix else ")")
        if problems := self.fit.problems:
            rest = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
            return f"no    {self.key}: {read}: {'; '.join(problems[:SHOWN])}{rest}"
        fresh = f", {len(self.fit.fresh)} of the network keep their start" if self.fit.fresh else ""
        return (
            f"fits  {self.key}: {read}: {len(self.fit.given)} tensors, {self.fit.left_out} of the file left out{fresh}"
        )


def describe(path: str | Path) -> tuple[list[str], bool]:
    """Describe a checkpoint in lines, and tell whether it fits any encoder. Raises UserError if it cannot be read."""
    tensors, sha256 = read_checkpoint(path)
    numbers = sum(value.numel() for value in tensors.values())
    size = Path(path).stat().st_size / 1e6
    lines = [
        f"file  {path}: {size:.1f} MB, sha256 {sha256}",
        f"holds {len(tensors):,} tensors of {numbers / 1e6:.2f} M numbers, first {next(iter(tensors))}",
    ]
    matches = list(find_matches(tensors, path))
    fits = _told_apart([match for match in matches if match.fit is not None and not match.fit.problems])
    lines += [match.line() for match in (fits or matches)]
    if not matches:
        lines.append("no    encoder of the table has tensors of these names; a module:Class of your own may")
    return lines, bool(fits)


def _told_apart(fits: list[Match]) -> list[Match]:
    """Leave out kinds of an encoder that know a file's tensors alone, where another knows its publisher's words too."""
    named = {match.encoder for match in fits if match.fit is not None and match.fit.by_name}
    return [match for match in fits if match.fit is not None and (match.fit.by_name or match.encoder not in named)]


def find_matches(tensors: Mapping[str, Tensor], path: str | Path) -> Iterator[Match]:
    """Try every kind of every row whose layout knows a name of the file; of a file of a run, the run's own alone."""
    if own := [side for side, part in PARTS.items() if any(name.startswith(f"encoder.{part}.") for name in tensors)]:
        yield from _of_a_run(tensors, own[0], path)
        return
    for side, rows in BACKBONES.items():
        for name, row in rows.items():
            for kind, published in row.published.items():
                if known_to(tensors, published):
                    start = f"{kind}:{path}"
                    key = f"{side}_encoder.variant={name} {side}_encoder.weights={start}"
                    yield _match(tensors, key, published, partial(_network, side, name, start, published.whole))


def _of_a_run(tensors: Mapping[str, Tensor], side: Kind, path: str | Path) -> Iterator[Match]:
    """Try the rows of one side for weights that a run of this project has left."""
    start, published = f"{RUN}:{path}", OWN[side]
    for name in BACKBONES[side]:
        key = f"{side}_encoder.variant={name} {side}_encoder.weights={start}"
        found = _match(tensors, key, published, partial(_network, side, name, start, published.whole))
        if found.fit is not None:
            yield found


def _match(tensors: Mapping[str, Tensor], key: str, published: Published, build: Callable[[], nn.Module]) -> Match:
    try:
        found = fit(tensors, build(), published)
    except (UserError, ValueError) as error:
        return Match(key=key, about=published.about, fit=None, refusal=str(error))
    return Match(key=key, about=published.about, fit=found)


def _network(side: Kind, variant: str, weights: str, whole: bool) -> nn.Module:
    cfg = ActionEncoderConfig if side == "action" else FrameEncoderConfig
    return _empty(cfg(variant=variant, weights=weights), whole=whole)


def _empty(cfg: Config, *, whole: bool) -> nn.Module:
    """Build an encoder, or its backbone alone, without memory: only names and shapes are looked at.

    A user's class is built as it is: what it does may not be possible without numbers.
    """
    with torch.device("cpu" if cfg.is_own else "meta"):
        if isinstance(cfg, ActionEncoderConfig):
            return ActionEncoder(cfg, 1, start=False).backbone
        encoder = FrameEncoder(cfg, start=False)
    return encoder if whole else encoder.image


def start_problem(cfg: Config, frames: int, size: int) -> str | None:
    """Say in one line why an encoder cannot be built, or cannot start from its weights; None where it can.

    A file is read whole, and nothing is kept of it. A network of the user's own is tried on two clips of `frames`
    frames of `size` pixels.
    """
    start = cfg.start
    try:
        network = _empty(cfg, whole=start.published is not None and start.published.whole)
        if start.file is not None and start.kind is not None and start.published is not None:
            fitted(network, start.file, start.kind, start.published)
        if cfg.is_own and not (start.published is not None and start.published.whole):
            _try(network, cfg, (2, 3, frames, size, size) if cfg.KIND == "action" else (2, 3, size, size))
    except UserError as error:
        return str(error)
    return None


@torch.no_grad()
def _try(network: nn.Module, cfg: Config, shape: tuple[int, ...]) -> None:
    """Call a user's network on random frames. Raises UserError where it fails or makes other than [2, width]."""
    wanted = [shape[0], cast(Network, network).width]
    of = f"of {cfg.row.builder} on frames {list(shape)}"
    try:
        made = network.eval()(torch.rand(shape))
    except Exception as error:  # the class is the user's: calling it may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        if any(word in reason.lower() for word in ("cuda", "gpu", "triton")):
            return  # there may be no GPU where a run is looked at
        raise UserError(f"variant {cfg.variant}: forward {of} fails: {reason}") from error
    if not isinstance(made, Tensor) or list(made.shape) != wanted:
        got = f"a {type(made).__name__}" if not isinstance(made, Tensor) else str(list(made.shape))
        rule = f"{wanted} is needed, one vector of `width` numbers each"
        raise UserError(f"variant {cfg.variant}: forward {of} makes {got}; {rule}")
