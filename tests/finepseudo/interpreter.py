"""Triton's interpreter, made ready for every version of Triton and NumPy that may meet."""

from __future__ import annotations

from typing import Any

from triton.runtime import interpreter


def make_ready() -> None:
    """Let a tensor of one element be an index: Triton 3.6 takes int() of an array, which NumPy 2.4 refuses."""
    given = interpreter._patch_lang_tensor

    def patch(tensor: Any, scope: Any) -> None:
        given(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patch
