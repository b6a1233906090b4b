"""The phase tasks on a pre-trained f_A, action by action (FinePseudo, Tables 9 and 13): no label of a class is used.

f_A embeds `frame_input.sampling.frames` frames of a video, spread over it; of a short video each one once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from finepseudo.compute.networks import placed, prepare_torch
from finepseudo.evaluation.phases import PhasedVideo, event_progress, kendalls_tau, phase_accuracy
from finepseudo.run_folder.done import DONE
from finepseudo.run_folder.files import read_json, sha256_file, write_json
from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from jobs.config.run import RunConfig
from jobs.pipeline.predict.videos import device_for
from jobs.workers.clip_parts import evaluation_reader
from jobs.workers.labelling import read_truth
from jobs.workers.models import trained_frame_encoder
from jobs.workers.write_shards import data_config
from shards.annotations import load_phases
from shards.read.cores import available_cores
from shards.splits.label_split import read_split

FILE = "phases.json"
"""In the run folder: the three numbers of every action, and their means."""
TASKS = ("phase", "tau", "progress")


def measure_phases(cfg: RunConfig) -> Path:
    """Measure the pre-trained f_A of the first label draw, unless that is done; give the file of the numbers."""
    run, seed = RunPaths(cfg.folder), cfg.seeds[0]
    folder = run.pretrain(cfg.pretrain.owner(seed))
    made = {"pretrain_sha256": sha256_file(folder / DONE), "frames": cfg.frame_input.sampling.frames}
    path = run.root / FILE
    if path.is_file() and made.items() <= read_json(path).items():
        return path
    truth, classes = read_truth(run.clips)
    phases = {row["key"]: row["phases"] for row in load_phases(data_config(cfg, run)).to_pylist()}
    test = set(read_split(run.split(seed)).keys("test"))
    actions: dict[str, dict[str, float | None]] = {}
    videos = embedded(cfg, run, folder / WEIGHTS, phases)
    for label, name in enumerate(classes):
        own = [(key, video) for key, video in videos.items() if truth[key] == label]
        train, asked = ([video for key, video in own if (key in test) == wanted] for wanted in (False, True))
        numbers = (phase_accuracy(train, asked), kendalls_tau(asked), event_progress(train, asked))
        actions[name] = dict(zip(TASKS, numbers, strict=True))
    write_json(path, {**made, "actions": actions, "mean": means(list(actions.values()))})
    return path


def means(actions: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Average each task over the actions that have a number."""
    known = {task: [value for one in actions if (value := one[task]) is not None] for task in TASKS}
    return {task: float(np.mean(values)) if values else None for task, values in known.items()}


@torch.inference_mode()
def embedded(
    cfg: RunConfig, run: RunPaths, weights: Path, phases: Mapping[str, Sequence[int]]
) -> dict[str, PhasedVideo]:
    """Embed every video whose phases are known and that can be read."""
    device = device_for(cfg)
    prepare_torch(available_cores(), cfg.deterministic)
    encoder = placed(trained_frame_encoder(cfg, weights), device)
    reader = evaluation_reader(cfg, run.shards, [cfg.frame_input.view()], device)
    truth, classes = read_truth(run.clips)
    keys = sorted(set(phases) & set(truth) & set(reader.manifest.keys))
    counts = [0] * len(classes)
    for key in keys:
        counts[truth[key]] = max(counts[truth[key]], 1 + max(phases[key], default=-1))
    found: dict[str, PhasedVideo] = {}
    for key, rows, places in _frames(reader.batches(keys, cfg.embed.batch), encoder, device):
        found[key] = PhasedVideo.of(rows, np.clip(places, 0, len(phases[key]) - 1), phases[key], counts[truth[key]])
    return found


def _frames(batches: Any, encoder: Any, device: torch.device) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401
    for batch in batches:
        sound = batch.sound()
        rows = encoder(sound.frames[:, 0].to(device)).float().cpu().numpy()
        yield from zip(sound.keys, rows, sound.frame_ids[:, 0].cpu().numpy(), strict=True)
