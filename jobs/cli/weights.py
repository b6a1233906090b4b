"""`finepseudo weights FILE ..`: what checkpoints are and which encoders they fit."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from finepseudo.encoders.describe import describe
from shards.errors import UserError, visible


def weights(files: Sequence[str]) -> int:
    """Describe each file; 0 when each can be read and fits an encoder, else 2."""
    code = 0
    for file in files:
        try:
            lines, fits = describe(file)
        except UserError as error:
            sys.stderr.write(f"error: {visible(str(error))}\n")
            code = error.exit_code
            continue
        sys.stdout.write("\n".join(map(visible, lines)) + "\n")
        code = code if fits else UserError.exit_code
    return code
