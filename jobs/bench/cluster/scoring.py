"""Class-wise alignability of a synthetic pool by the product's own stage: Ray Data actors, and the same actor bare."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.training.checkpoint import save_weights
from jobs.bench.cluster.spent import Pace, Stamp, stamp, steady
from jobs.cluster import preempt
from jobs.cluster.preempt import Preempted
from jobs.config.recipes import load
from jobs.config.run import RunConfig
from jobs.workers.embed import to_table
from jobs.workers.map_parts import Pool, plan_pool
from jobs.workers.part_files import GALLERY, chunks, parts, write_part
from jobs.workers.score import Aligner, ScoreJob, pack_gallery, score
from shards.annotations.base import Clip, make_annotations
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split, write_split

PLACES = 64
"""Sets of random embeddings that the clips share: drawing each one again would take longer than to align it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """A pool: unlabelled clips, classes, gallery clips of each, frames and features of an embedding, clips a part."""

    clips: int
    classes: int
    per_class: int
    frames: int = 32
    features: int = 128
    chunk: int = 128

    @property
    def gallery(self) -> int:
        """How many labelled clips each clip is aligned with."""
        return self.classes * self.per_class

    @property
    def pairs_of_part(self) -> float:
        """Alignments of a part, on average: labelled clips lie in the parts too and are not aligned."""
        return self.clips * self.gallery / math.ceil((self.clips + self.gallery) / self.chunk)


KINETICS = Extent(clips=216_000, classes=400, per_class=15, chunk=512)
"""Kinetics-400 with 10 % labels: 216,000 unlabelled clips against 6,000."""


def config(extent: Extent) -> RunConfig:
    """Make the recipe of Kinetics-400, one thread an actor."""
    numbers = [
        f"embed.gallery_per_class={extent.per_class}",
        f"frame_input.sampling.frames={extent.frames}",
        "resources={threads: 1, device: cpu}",
    ]
    random = ["frame_encoder.weights=random", "action_encoder.weights=random"]
    return load("kinetics400", [*random, *numbers])


def write_pool(folder: Path, extent: Extent) -> ScoreJob:
    """Write what the stage reads: the split, the embeddings in parts, f_S and the packed gallery."""
    cfg = config(extent)
    total = extent.clips + extent.gallery
    keys = [f"clip{number:06d}" for number in range(total)]
    clips = [
        Clip(name=key, path=key, label=number % extent.classes, role="train", source=key)
        for number, key in enumerate(keys)
    ]
    clips.append(Clip(name="tested", path="tested", label=0, role="test", source="tested"))
    names = [str(number) for number in range(extent.classes)]
    split = draw_split(make_annotations(clips, names, "any", "1"), SplitConfig(per_class=extent.per_class), 0)
    write_split(folder / "split.parquet", split)
    _write_embeddings(folder / "embeddings", keys, extent)
    f_s = AlignabilityScorer(cfg.frame_stage.scorer).state_dict()
    save_weights(folder / "f_S.safetensors", {f"scorer.{name}": value for name, value in f_s.items()})
    labelled = split.items("labelled")
    truth = dict(zip(labelled.keys, labelled.labels.tolist(), strict=True))
    job = ScoreJob(
        cfg=cfg,
        run=folder.resolve(),
        folder=(folder / "scores").resolve(),
        embeddings=(folder / "embeddings").resolve(),
        frame_weights=(folder / "f_S.safetensors").resolve(),
        split=(folder / "split.parquet").resolve(),
        n_classes=extent.classes,
    )
    gallery = pack_gallery(cfg, job.embeddings, truth, extent.classes, seed=0, number=0)
    save_weights(folder / GALLERY, gallery)
    return job


def _write_embeddings(folder: Path, keys: list[str], extent: Extent) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(PLACES, extent.frames, extent.features, generator=generator)
    drawn = torch.nn.functional.normalize(drawn, dim=-1)
    for row in chunks(keys, extent.chunk):
        n = len(row["keys"])
        places = torch.randint(0, PLACES, (n,), generator=generator)
        table = to_table(row["keys"], drawn[places], torch.ones(n, 1), torch.zeros(n), torch.ones(n, dtype=torch.bool))
        write_part(folder / row["part"], table)


def empty_scores(job: ScoreJob) -> None:
    """Make the folder of scores as it is when the stage begins: with the gallery alone."""
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    shutil.copyfile(job.run / GALLERY, job.folder / GALLERY)


def bare(job: ScoreJob) -> Pace:
    """Align part after part in this process: the engine and the files, without Ray."""
    empty_scores(job)
    aligner = Aligner(job, Pool(actors=1, cpus=1, gpu=False))
    stamps = []
    for number, path in enumerate(parts(job.embeddings)):
        aligner({"part": path.name})
        stamps.append(stamp(number, alone=True))
    return steady(stamps, 0)


def mapped(job: ScoreJob, actors: int) -> Pace:
    """Align through Ray Data; the pace is that after every actor has finished a part."""
    empty_scores(job)
    stamps: list[Stamp] = []
    pool = plan_pool(actors, job.cfg.resources)
    score(job, pool, lambda done, _total: stamps.append(stamp(done)) if done else None)  # 0: before Ray has begun
    return steady(stamps, 2 * actors - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """A stage that was stopped: parts done of how many, its pace after the start, seconds to start and to stop."""

    parts: int
    total: int
    pace: Pace
    start_s: float
    stop_s: float


def for_minutes(job: ScoreJob, actors: int, minutes: float, say: Callable[[str], None]) -> Reached:
    """Run the stage until `minutes` after its first part, then stop it as Slurm would, by its run's file.

    Every actor has finished two parts by then.
    """
    empty_scores(job)
    preempt.clear(job.run)
    stamps: list[Stamp] = []
    total, began = len(parts(job.embeddings)), time.perf_counter()
    asked: list[float] = []

    def count(done: int, _total: int) -> None:
        if not done:  # before Ray has begun
            return
        stamps.append(stamp(done))
        say(f"{done} of {total} parts after {stamps[-1].wall - began:.0f} s")
        if not asked and len(stamps) > 2 * actors and stamps[-1].wall - stamps[0].wall >= 60 * minutes:
            preempt.ask(job.run)
            asked.append(time.perf_counter())

    with suppress(Preempted):
        score(job, plan_pool(actors, job.cfg.resources), count)
    ended = time.perf_counter()
    pace = steady(stamps, 2 * actors - 1)
    start_s = stamps[0].wall - began
    return Reached(parts=stamps[-1].done, total=total, pace=pace, start_s=start_s, stop_s=ended - (*asked, ended)[0])
