"""From clips to answers: encoders loaded once, clips decoded ahead of them, one answer a clip in the order given."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import torch

from finepseudo.compute.networks import prepare_torch
from finepseudo.evaluation.predict import Prediction, Predictor, merged, predict
from finepseudo.run_folder.layout import RunPaths
from finepseudo.run_folder.others import no_run
from jobs.config.run import RunConfig
from jobs.pipeline.predict.clips import Failed, Read, read_clips
from jobs.pipeline.predict.inputs import clips_of
from jobs.pipeline.predict.tables import Answer, table_of
from jobs.pipeline.predict.trained import chosen_seeds, load_predictor
from jobs.pipeline.run_folder import read_config
from jobs.workers.labelling import read_files
from shards.errors import UserError
from shards.read.config import ViewConfig
from shards.read.cores import available_cores
from shards.storage.remote import is_url
from shards.types import View
from shards.write.plans import PlannedClip

TEST, FRAME = "test", "frame"
"""The views of f_E and of f_A."""
EVERY_S = 10.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What an answer holds: so many classes and matches, by which label draws (None: the first) and method."""

    top: int = 5
    matches: int = 3
    seed: int | str | None = None
    method: str | None = None


def predict_video(
    folder: str | Path, video: str | Path, *, cfg: RunConfig | None = None, top: int = 5, matches: int = 3
) -> Prediction:
    """Predict one video with the run in `folder`, as it was tested: a file, a folder of frames or a URL.

    cfg: read from the folder unless it is given. `top` classes come back and, where the run has f_A, the `matches`
    labelled clips that the video aligns with best. UserError when the run is not finished or the video not readable.
    """
    text = str(video)
    if not is_url(text) and not Path(text).expanduser().exists():
        raise UserError(f"predict: {text}: no such file")
    answer = next(answers(folder, [PlannedClip(key="video", path=text)], Asked(top=top, matches=matches), cfg=cfg))
    if answer.prediction is None:
        raise UserError(f"predict: {text}: {answer.reason}" + (f" ({answer.detail})" if answer.detail else ""))
    return answer.prediction


def predict_paths(
    folder: str | Path, given: Sequence[str | Path], asked: Asked | None = None, *, cfg: RunConfig | None = None
) -> pa.Table:
    """Predict any number of videos with the run in `folder`: one row each, in the order given.

    given: files, folders of them, lists, URLs, folders of frames; docs/files.md describes the columns. What cannot be
    read has its reason in its row. UserError when the run is not finished.
    """
    asked = asked or Asked()
    made = list(answers(folder, clips_of(given), asked, cfg=cfg))
    paths = read_files(RunPaths(Path(folder)).clips)
    return table_of(made, paths)


def answers(
    folder: str | Path, clips: Sequence[PlannedClip], asked: Asked, *, cfg: RunConfig | None = None
) -> Iterator[Answer]:
    """Predict clips as they are read; the answers of a section come in its order. UserError as `predict_paths`."""
    run = RunPaths(Path(folder))
    if not run.config.is_file():
        raise no_run("predict", run.root, "train first, or name the run with --name and out=")
    cfg = read_config(run.root) if cfg is None else cfg
    device = device_for(cfg)
    prepare_torch(available_cores(), cfg.deterministic)
    seeds = chosen_seeds(cfg, run, asked.seed)
    predictors = [load_predictor(cfg, run, seed, asked.method, device) for seed in seeds]
    yield from _in_order(clips, answered(cfg, clips, predictors, asked, device))


def device_for(cfg: RunConfig) -> torch.device:
    """Take the GPU where there is one and the run does not say `cpu`; a run of a cluster may be asked on a laptop."""
    return torch.device("cuda" if torch.cuda.is_available() and cfg.resources.device != "cpu" else "cpu")


def views_of(cfg: RunConfig, predictors: Sequence[Predictor]) -> list[ViewConfig]:
    """Say what is seen of a clip: the views of the test, and f_A's where it is asked."""
    aligns = any(one.alignment is not None for one in predictors)
    return [cfg.test_input().view(TEST), *([cfg.frame_input.view(FRAME)] if aligns else [])]


def answered(
    cfg: RunConfig,
    clips: Sequence[PlannedClip],
    predictors: Sequence[Predictor],
    asked: Asked,
    device: torch.device,
) -> Iterator[Answer]:
    """Answer every clip by encoders that are loaded, failed ones of a section first."""
    by_key = {clip.key: clip for clip in clips}
    lenient = replace(cfg, reading=replace(cfg.reading, max_bad_fraction=1.0))
    progress = _Progress(len(clips))
    with closing(read_clips(lenient, clips, views_of(cfg, predictors), device, cfg.evaluate.batch)) as found:
        for item in found:
            if isinstance(item, Failed):
                yield Answer(by_key[item.key], None, reason=item.reason, detail=item.detail)
                progress.count(failed=True)
                continue
            for place, key in enumerate(item.batch.keys):
                yield _answer(by_key[key], item, place, predictors, asked)
                progress.count(failed=False)


def _answer(clip: PlannedClip, read: Read, place: int, predictors: Sequence[Predictor], asked: Asked) -> Answer:
    views, fps = read.batch.views, read.fps[place]
    several = []
    for one in predictors:
        frames = views[FRAME].frames[place, 0] if one.alignment is not None else None
        several.append(predict(one, _distinct(views[TEST], place), frames, top=asked.top, matches=asked.matches))
    made = merged(several, predictors[0], top=asked.top, matches=asked.matches)
    times = [float(i) / fps for i in views[FRAME].frame_ids[place, 0].tolist()] if FRAME in views else []
    return Answer(clip, made, times=tuple(times))


def _distinct(view: View, place: int) -> torch.Tensor:
    """Give the views [V, T, C, H, W] of a clip that show something new, which count once, as in the test."""
    ids, frames, kept = view.frame_ids[place], view.frames[place], list[int]()
    for v in range(len(frames)):
        if not any(torch.equal(ids[v], ids[k]) and torch.equal(frames[v], frames[k]) for k in kept):
            kept.append(v)
    return frames[kept]


def _in_order(clips: Sequence[PlannedClip], made: Iterator[Answer]) -> Iterator[Answer]:
    """Give the answers in the order of the clips, each as soon as those before it are there."""
    waiting: dict[str, Answer] = {}
    order = iter(clips)
    wanted = next(order, None)
    for answer in made:
        waiting[answer.clip.key] = answer
        while wanted is not None and wanted.key in waiting:
            yield waiting.pop(wanted.key)
            wanted = next(order, None)


class _Progress:
    """A line on stderr every few seconds where there is more than a handful of clips."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.failed = total, 0, 0
        self.started = self.said = time.monotonic()

    def count(self, *, failed: bool) -> None:
        """Count a clip."""
        self.done, self.failed = self.done + 1, self.failed + failed
        now = time.monotonic()
        if now - self.said >= EVERY_S:
            self.said, rate = now, self.done / (now - self.started)
            bad = f", {self.failed:,} not readable" if self.failed else ""
            sys.stderr.write(f"predict: {self.done:,} of {self.total:,} videos{bad}, {rate:.1f} a second\n")
