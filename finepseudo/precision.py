"""The number formats of training; free of torch, so that settings may name them."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "bf16"]
