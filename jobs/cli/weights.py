"""`finepseudo weights FILE ..`: what checkpoints are and which encoders they fit."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from finepseudo.encoders.describe import describe
from shards.errors import UserError


def weights(files: Sequence[str]) -> int:
    """Describe each file; 0 when each fits an encoder, else 2."""
    code = 0
    for file in files:
        lines, fits = describe(file)
        sys.stdout.write("\n".join(lines) + "\n")
        code = code if fits else UserError.exit_code
    return code
