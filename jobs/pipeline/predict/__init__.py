"""Videos through the encoders of a finished run: `finepseudo predict`, and the same from Python.

What was named (`inputs`) is normalised into shards of its own in a temporary folder (`clips`), so that it is read
exactly as the run's clips; the weights (`trained`) are loaded once. `videos` joins them, `tables` writes what came out.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.pipeline.predict.trained import load_predictor
    from jobs.pipeline.predict.videos import predict_paths, predict_video

__all__ = ["load_predictor", "predict_paths", "predict_video"]
_HOMES = {"load_predictor": "trained", "predict_paths": "videos", "predict_video": "videos"}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for: what was named on a command line is looked at without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
