"""The method: tensors and tables in, tensors and tables out; no ray, no tar files.

What stands in `__all__` is for use from Python (docs/python.md) and is loaded when it is first asked for: importing
the package loads no torch. Of `shards` it takes errors, settings, types and the way of writing files. Its packages lie
on top of each other, each importing only what stands below it:

    bench
    evaluation | report
    methods
    training
    alignment | consistency | encoders
    soft_dtw | run_folder
    distributed
    batch_norm | compute

`recipes` and `templates` hold data files.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finepseudo.encoders.action_encoder import build_action_encoder
    from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
    from finepseudo.encoders.frame_encoder import build_frame_encoder
    from finepseudo.evaluation.finished_run import FinishedRun, load_run
    from finepseudo.evaluation.predict import Alignment, Exemplars, Prediction, Predictor, predict
    from finepseudo.soft_dtw import (
        AlignmentBank,
        class_alignability,
        hard_path,
        soft_alignment,
        soft_dtw_cdist,
        soft_dtw_pairwise,
    )

_HOMES = {
    "AlignmentBank": "soft_dtw",
    "class_alignability": "soft_dtw",
    "hard_path": "soft_dtw",
    "soft_alignment": "soft_dtw",
    "soft_dtw_cdist": "soft_dtw",
    "soft_dtw_pairwise": "soft_dtw",
    "ActionEncoderConfig": "encoders.config",
    "FrameEncoderConfig": "encoders.config",
    "build_action_encoder": "encoders.action_encoder",
    "build_frame_encoder": "encoders.frame_encoder",
    "FinishedRun": "evaluation.finished_run",
    "load_run": "evaluation.finished_run",
    "Alignment": "evaluation.predict",
    "Exemplars": "evaluation.predict",
    "Prediction": "evaluation.predict",
    "Predictor": "evaluation.predict",
    "predict": "evaluation.predict",
}
"""Public name -> the module that defines it."""

__all__ = [
    "ActionEncoderConfig",
    "Alignment",
    "AlignmentBank",
    "Exemplars",
    "FinishedRun",
    "FrameEncoderConfig",
    "Prediction",
    "Predictor",
    "build_action_encoder",
    "build_frame_encoder",
    "class_alignability",
    "hard_path",
    "load_run",
    "predict",
    "soft_alignment",
    "soft_dtw_cdist",
    "soft_dtw_pairwise",
]


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """List the public names too, loaded or not."""
    return sorted({*globals(), *__all__})
