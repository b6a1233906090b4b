"""Published weights laid over a network, strictly: every tensor of both is accounted for, or none is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from finepseudo.encoders.checkpoint_files import read_checkpoint
from finepseudo.encoders.contract import Layout, Published, imported
from shards.errors import UserError, counted


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsRecord:
    """What a network started from: the file and its SHA-256, how it was read, and what of each side stayed out."""

    path: str
    sha256: str
    layout: str
    prefix: str
    # tensors of the network that the file filled
    loaded: int
    # tensors of the network that kept their start
    left_random: tuple[str, ...]
    # tensors of the file that are no part of the network
    left_out: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """How the tensors of a file, read by one layout, lie over a network."""

    layout: Layout
    prefix: str
    given: Mapping[str, Tensor]
    fresh: tuple[str, ...]
    left_out: int
    # one entry a tensor that does not fit, as one says it to a person
    problems: tuple[str, ...]

    @property
    def by_name(self) -> bool:
        """Whether the file names the network as this publisher does, and not only its tensors."""
        return any(words and _has_words(self.prefix, words) for words in self.layout.prefers)


def fit(tensors: Mapping[str, Tensor], network: nn.Module, published: Published) -> Fit | None:
    """Read tensors by the layout that leaves the fewest problems; None where no layout knows them.

    Raises ValueError where a file holds several networks and the layout cannot tell which is meant.
    """
    found = [_fit(tensors, network, published, layout) for layout in published.layouts]
    return min((one for one in found if one is not None), key=lambda one: len(one.problems), default=None)


def known_to(tensors: Mapping[str, Tensor], published: Published) -> bool:
    """Tell whether a layout of this kind knows a name of the file."""
    anchors = tuple(layout.anchor for layout in published.layouts)
    return any(name in anchors or name.endswith(tuple(f".{anchor}" for anchor in anchors)) for name in tensors)


def _fit(tensors: Mapping[str, Tensor], network: nn.Module, published: Published, layout: Layout) -> Fit | None:
    wanted = network.state_dict()
    prefix = _prefix(tensors, _anchor(layout, wanted), layout.prefers)
    if prefix is None:
        return None
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    own |= {name: value for name, value in tensors.items() if _matches(name, layout.beside)}
    kept = {renamed(name, layout): value for name, value in own.items() if not _matches(name, layout.drops)}
    left_out = len(tensors) - len(kept)
    if layout.convert is not None:
        kept = imported(layout.convert)(kept, network)
    missing = [name for name in wanted if name not in kept and not name.endswith("num_batches_tracked")]
    fresh = tuple(name for name in missing if _matches(name, published.fresh))
    problems = (*_mismatches(kept, wanted), *(f"{name} is missing" for name in missing if name not in fresh))
    return Fit(layout=layout, prefix=prefix, given=kept, fresh=fresh, left_out=left_out, problems=problems)


def _anchor(layout: Layout, wanted: Mapping[str, Tensor]) -> str:
    """Give the tensor that tells a layout: its own, or the network's first where names are those of the network."""
    return layout.anchor or next(iter(wanted))


def _prefix(tensors: Mapping[str, Tensor], anchor: str, prefers: Sequence[str]) -> str | None:
    """Find what stands before the anchor: the preferred prefix where several tensors end in it."""
    found = [name.removesuffix(anchor) for name in tensors if name == anchor or name.endswith(f".{anchor}")]
    for words in prefers:
        matching = [prefix for prefix in found if _has_words(prefix, words)]
        if len(matching) == 1:
            return matching[0]
    if len(found) > 1:
        raise ValueError(f"holds several networks ({', '.join(found[:4])}): keep the tensors of one")
    return found[0] if found else None


def _has_words(prefix: str, words: str) -> bool:
    """Tell whether whole words of a prefix are these: `backbone.` is not in `momentum_backbone.`; "" is no prefix."""
    return f".{words}" in f".{prefix}" if words else not prefix


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(re.match(pattern, name) for pattern in patterns)


def renamed(name: str, layout: Layout) -> str:
    """Give this project's name of a tensor that a layout knows."""
    for pattern, replacement in layout.renames:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return name


def _mismatches(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[str]:
    for name, value in given.items():
        if name not in wanted:
            yield f"{name} is surplus"
        elif value.shape != wanted[name].shape:
            yield f"{name} has shape {tuple(value.shape)} instead of {tuple(wanted[name].shape)}"
        elif value.is_floating_point() != wanted[name].is_floating_point():
            yield f"{name} holds {value.dtype} instead of {wanted[name].dtype}"


def fitted(network: nn.Module, path: str | Path, kind: str, published: Published) -> tuple[Fit, str]:
    """Lay a checkpoint file of one kind over a network of its options, loading nothing; give the file's SHA-256 too.

    Raises UserError, in one line, unless every tensor fits.
    """
    tensors, sha256 = read_checkpoint(path)
    name = type(network).__name__
    try:
        found = fit(tensors, network, published)
    except ValueError as error:
        raise UserError(f"weights {kind}:{path}: {error}") from error
    if found is None:
        anchors = " or ".join(f"*.{_anchor(layout, network.state_dict())}" for layout in published.layouts)
        raise UserError(
            f"weights {kind}:{path}: no tensor {anchors}, as {published.about} has; first name is "
            f"{next(iter(tensors))}: see `finepseudo weights {path}`"
        )
    if found.problems:
        shown = ", ".join(found.problems[:3]) + (", .." if len(found.problems) > 3 else "")
        raise UserError(
            f"weights {kind}:{path}: {counted(len(found.problems), 'tensor does', 'tensors do')} not fit {name}: "
            f"{shown}; see `finepseudo weights {path}`"
        )
    return found, sha256


def load_into(network: nn.Module, path: str | Path, kind: str, published: Published) -> WeightsRecord:
    """Load a checkpoint file of one kind into a network of its options. Raises UserError unless every tensor fits."""
    found, sha256 = fitted(network, path, kind, published)
    network.load_state_dict(dict(found.given), strict=False)
    return WeightsRecord(
        path=str(path),
        sha256=sha256,
        layout=found.layout.name,
        prefix=found.prefix,
        loaded=len(found.given),
        left_random=found.fresh,
        left_out=found.left_out,
    )
