"""Triton's interpreter, made ready for every version of Triton and NumPy that may meet."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from triton.runtime import interpreter


def make_ready() -> None:
    """Let a tensor of one element be an index: Triton 3.6 takes int() of an array, which NumPy 2.4 refuses."""
    given = interpreter._patch_lang_tensor

    def patch(tensor: Any, scope: Any) -> None:
        given(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patch


def add_as_tensor_cores_do() -> None:
    """Let products add sixteen features at a time and cut the sum off to float32, where numpy would round it."""

    def dot(self: Any, a: Any, b: Any, total: Any, *_: Any) -> Any:
        left, right = a.data.astype(np.float64), b.data.astype(np.float64)
        found = total.data
        for k in range(0, left.shape[-1], 16):
            found = _cut_off(found + left[..., k : k + 16] @ right[..., k : k + 16, :])
        return interpreter.TensorHandle(found, total.dtype.scalar)

    interpreter.InterpreterBuilder.create_dot = dot


def _cut_off(exact: NDArray[np.float64]) -> NDArray[np.float32]:
    near = exact.astype(np.float32)
    return np.where(np.abs(near) > np.abs(exact), np.nextafter(near, np.float32(0)), near)
