"""The real annotation files, where they lie beside the repository; the tests that need them skip elsewhere."""

from collections import Counter
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real annotation files (../shared/data) are not here")


def counts(ann):
    """Clips of each role."""
    return dict(Counter(ann.clips.column("role").to_pylist()))


def row(ann, key):
    """One clip as a dict."""
    return next(item for item in ann.clips.to_pylist() if item["key"] == key)


def write(path, text):
    """Write bytes as they are, so that CRLF stays CRLF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path
