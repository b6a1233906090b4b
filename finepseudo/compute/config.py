"""What recipes say of how a network is computed; free of torch."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "tf32", "bf16"]
"""Of matrix products and convolutions alike: float32; float32 of inputs with 10 bits; bfloat16 by autocast.

Weights, statistics, losses and alignment are float32 in all of them.
"""

PRECISION_HELP = "of products and convolutions of the network: float32, float32 of inputs with 10 bits, or autocast"
COMPILE_HELP = "torch.compile: minutes at the start, faster steps; off where the run is deterministic"
