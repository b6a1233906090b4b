"""A recipe for videos of one's own: sizes from the videos, steps from the number of clips, encoders from the device."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finepseudo.run_folder.yaml_text import yaml_text

_SIDES = re.compile(r"(?<![a-z])(left|right|links|rechts|clockwise)(?![a-z])", re.IGNORECASE)
_BATCH = 24
NO_POOL = "No clip is unlabelled, so there is nothing to label"
_ENOUGH = 10
"""Labelled clips a class from which on some can be spared to choose by."""
_S_A_PIXEL = 2.5e-7
"""Seconds that a pixel of a clip takes in a step of the small f_E on two cores: measured, tests/golden/own.md."""
_FITTED = 700
"""Steps in which f_E fits some hundred labels: with 108 labels and 240 steps its training loss was still 1.3 to 1.7."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of the data: class names, labelled clips, clips of the pool, median frames and short side.

    listed: the list says who is labelled, so that without a pool none can be drawn.
    """

    classes: tuple[str, ...]
    labelled: int
    pool: int
    frames: int
    short_side: int
    listed: bool = False

    @property
    def alone(self) -> bool:
        """Tell whether there are labels alone: methods that need a pool have nothing to do."""
        return self.listed and not self.pool

    @property
    def sided(self) -> bool:
        """Tell whether mirroring an image may make another class of it."""
        return any(_SIDES.search(name.replace("_", " ")) for name in self.classes)


def own_recipe(facts: Facts, listed: Path, *, gpu: bool) -> str:
    """Write a recipe with remarks on what was chosen and why."""
    values = {"name": listed.stem, **(_on_gpu(facts) if gpu else _on_cpu(facts))}
    values["data"] = {"name": "csv", "lists": {"all": str(listed.absolute())}}
    if facts.alone:
        values["methods"] = ["supervised"]
    elif not facts.pool:
        values["split"] = {"ratio": 0.5}
    values = json.loads(json.dumps(values))  # each section is its own: YAML would write what is shared as a reference
    return "".join(f"# {line}\n" for line in _remarks(facts, gpu=gpu)) + yaml_text(values)


def _remarks(facts: Facts, *, gpu: bool) -> list[str]:
    pool = f"{facts.labelled:,} labelled clips, {facts.pool:,} in the pool, {len(facts.classes)} classes"
    lines = [f"Made by `finepseudo init` for {pool}; half of the clips have {facts.frames} frames or more."]
    if gpu:
        lines.append("For a GPU: the paper's encoders. It runs when you say what they start from, one key each:")
        lines.append("frame_encoder.weights: imagenet:FILE (a ResNet-50) and action_encoder.weights: kinetics_sup:FILE")
        lines.append("(torchvision's R(2+1)D-18). `finepseudo weights FILE` says what others are; random: much worse.")
        lines.append("Minutes to an hour on a GPU of a data centre: `finepseudo plan` with this file says how many.")
    else:
        lines.append("For a CPU: small encoders that start at random and train their images too (freeze_image: false).")
        lines.append(f"About {_minutes(facts)} minutes on two free cores, an evening on a busy laptop.")
    if facts.alone:
        lines.append(f"{NO_POOL}: it trains on the labels alone (methods: [supervised]).")
    elif not facts.pool:
        lines.append("Every clip has a class, so half of them give theirs up to be the pool (split.ratio).")
        lines.append("methods: [supervised] with split.ratio: 1.0 trains on all of them.")
    if facts.labelled >= _ENOUGH * len(facts.classes):
        lines.append("There are labels enough to keep some from training, and to choose the answer, the bar of")
        lines.append("pseudo-labels and the weights by them: split.held_out: 0.2, method.finepseudo.bar: calibrated,")
        lines.append("action_stage.keep: best.")
    if facts.sided:
        lines.append("Class names speak of sides: images are never mirrored (flip: 0).")
    return lines


def _minutes(facts: Facts) -> int:
    """Reckon what the recipe for a CPU takes, in tens of minutes: steps of f_E, twice as dear ones of f_A, clips."""
    trained = _BATCH * (500 + 3 * 2 * _self_steps(facts) + 2 * (200 + 2 * 60 + 2 * 60))
    pixels = _sampled(facts) * _cpu_size(facts) ** 2
    seconds = (trained + 2 * 5 * (facts.labelled + facts.pool)) * pixels * _S_A_PIXEL
    return max(10, 10 * round(seconds / 600))


def _cpu_size(facts: Facts) -> int:
    return 56 if facts.short_side >= 64 else 40


def _sampled(facts: Facts) -> int:
    """Frames of a clip: no more than half of the clips have, in steps of 4."""
    return max(8, min(20, facts.frames // 4 * 4))


def _gitdl(facts: Facts) -> dict[str, Any]:
    """Two clips of half the frames that half of the videos have, so that their strides are whole numbers."""
    return {"policy": "gitdl", "frames": max(8, min(32, facts.frames // 8 * 4))}


def _on_cpu(facts: Facts) -> dict[str, Any]:
    frames, flip = _sampled(facts), 0.0 if facts.sided else 0.5
    look: dict[str, dict[str, Any]] = {
        "sampling": {"frames": frames},
        "augment": {"size": _cpu_size(facts), "scale": [0.8, 1.0], "flip": flip},
    }
    light = {"jitter": 0.8, "brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.05}
    balanced = {"batch_size": _BATCH, "sampler": "balanced"}
    return {
        "seeds": [0],
        "methods": ["supervised", "pseudo_label", "finepseudo"],
        "rounds": 2,
        "shards": {"short_side": min(128, max(48, facts.short_side)), "clips_per_shard": 64},
        "frame_encoder": {"variant": "tiny", "train_length": frames},
        "action_encoder": {"variant": "tiny", "dropout": 0.1},
        "frame_input": look,
        "action_input": copy.deepcopy(look),  # else YAML writes an alias
        "pretrain": {
            "train": _steps(60),
            "order": {"batch_size": _BATCH},
            "input": {"sampling": _gitdl(facts), "augment": {**look["augment"], **light}},
        },
        "frame_stage": {
            "freeze_image": False,
            "train": _steps(200),
            "self_train": _steps(60, own=True),
            "order": dict(balanced),
            "loss": {"norm": "T"},
        },
        "action_stage": {
            "train": _steps(500),
            "self_train": _steps(_self_steps(facts), own=True),
            "order": balanced,
            "self_order": dict(balanced),
        },
        "embed": {"chunk": 32},
        "evaluate": {"views": 2, "crops": 1},
        "resources": {"device": "cpu", "workers": 1, "write_tasks": min(4, os.cpu_count() or 1)},
    }


def _steps(steps: int, *, own: bool = False) -> dict[str, Any]:
    """Train for so many steps; `own`: in self-training, at the full rate."""
    epochs = {} if own else {"epochs": None}
    factor = {"self_training_factor": 1.0} if own else {}
    return {**epochs, "steps": steps, "optim": {"lr": 0.001, "warmup_epochs": 1, **factor}}


def _self_steps(facts: Facts) -> int:
    """Five times through the labels and the third of the pool that is accepted (paper), 120 steps at least."""
    return max(120, 5 * (facts.labelled + facts.pool // 3) // _BATCH)


def _on_gpu(facts: Facts) -> Mapping[str, Any]:
    flip = {"flip": 0.0} if facts.sided else {}
    epochs = -(-100 * facts.labelled // 32)
    return {
        "base": "base",
        "seeds": [0],
        "rounds": 4,
        "shards": {"short_side": min(256, max(112, facts.short_side)), "clips_per_shard": 64},
        "frame_input": {"augment": flip},
        "action_input": {"augment": flip},
        "pretrain": {"input": {"sampling": _gitdl(facts), "augment": flip}},
        "frame_stage": {
            "order": {"batch_size": 48},
            "self_train": {"epochs": None, "steps": 100, "optim": {"self_training_factor": 1.0}},
        },
        "action_stage": {
            "train": {"epochs": None, "steps": max(_FITTED, epochs)},
            "self_train": {"epochs": None, "steps": _self_steps(facts), "optim": {"self_training_factor": 1.0}},
        },
        "resources": {"write_tasks": min(16, os.cpu_count() or 1)},
    }
