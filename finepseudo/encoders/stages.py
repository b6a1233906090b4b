"""What a backbone of f_E computes on the way: the outputs of its four stages, for losses that look inside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol, cast

from torch import Tensor, nn

from finepseudo.distributed import widened
from finepseudo.encoders.action_encoder import ActionEncoder


class Staged(Protocol):
    """A backbone whose row says `staged`."""

    stage_width: int
    """Channels of the last stage."""

    @property
    def stages(self) -> Sequence[nn.Module]:
        """The modules whose outputs are those of the four stages, in order."""
        ...

    def over_time(self, output: Tensor) -> Tensor:
        """Map the output of a stage to its mean over places: [B, T', D']."""
        ...


def staged(encoder: ActionEncoder) -> Staged:
    """Give the backbone of f_E as one with stages."""
    return cast(Staged, encoder.backbone)


@contextmanager
def watched(encoder: ActionEncoder) -> Iterator[list[Tensor]]:
    """List what the stages give while f_E runs inside: [B, T_i, D_i] each, by stage."""
    backbone, found = staged(encoder), list[Tensor]()

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        found.append(widened(backbone.over_time(output)))

    hooks = [stage.register_forward_hook(partial(keep)) for stage in backbone.stages]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
