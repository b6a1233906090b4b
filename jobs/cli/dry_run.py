"""`--dry-run`: what is wrong as far as it can be seen without running; what would run, on what, how large it is."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.config.run import RunConfig
from jobs.pipeline.folded import folded
from jobs.pipeline.plan import COMMANDS, make_plan, refuse_without_weights, weight_problems
from jobs.pipeline.run_folder import refuse_other_data
from jobs.pipeline.stages.base import Run, Stage
from jobs.pipeline.survey import StageState, bytes_text, loss_lines, open_stages, survey
from jobs.progress import Reporter
from jobs.workers.labelling import check_pool, check_ready
from shards.annotations import annotation_files
from shards.annotations import load as load_annotations
from shards.annotations.base import Annotations
from shards.annotations.open_world import draw_classes
from shards.errors import UserError, counted
from shards.splits.label_split import draw_split
from shards.storage.remote import is_url


class ListsAbsentError(UserError):
    """The annotation files are not here: a dry run goes on all the same."""


def dry_run(cfg: RunConfig, command: str, *, force: bool = False) -> int:
    """Print what is wrong, then the plan of a command; 0 when nothing that could be checked is wrong, else 2."""
    states = states_of(cfg, command)
    problems = [*weight_problems(cfg, open_stages(states)), *folder_problems(cfg, force=force)]
    found = None
    try:
        found = None if rendered(cfg) else read_annotations(cfg)
        note = _about(found) if found else _to_render(cfg)
    except ListsAbsentError as error:
        note = f"{error}; lists and videos are not checked (set data.root)"
    except UserError as error:
        problems.append(str(error))
        note = f"{cfg.data.name}: cannot be read, see below"
    refused = list(split_problems(cfg, found)) if found else []
    if found is None and cfg.split.lists and not Path(cfg.split.lists).expanduser().is_dir():
        refused.append(f"split.lists: {cfg.split.lists} is not here; give the folder of the published lists")
    lines = [
        f"run folder  {cfg.folder}",
        f"data        {note}",
        *(measure(cfg, found).lines(cfg) if found and not refused else ()),
        *resource_lines(cfg),
        f"stages      {sum(map(len, states))} in order; f_E and f_A of a round may run side by side",
        *plan_lines(states),
        *(f"PROBLEM {problem}" for problem in [*problems, *refused]),  # last: the end is what a terminal shows
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return UserError.exit_code if problems or refused else 0


def states_of(cfg: RunConfig, command: str = "run") -> list[list[StageState]]:
    """Survey the stages of a command; nothing is written."""
    with Reporter(cfg.folder, tensorboard=False) as reporter:
        return survey(make_plan(Run(cfg, reporter)), COMMANDS.get(command))


def to_come(cfg: RunConfig, command: str) -> list[Stage]:
    """List the stages that a command will make; nothing is written."""
    return open_stages(states_of(cfg, command))


def refuse_early(cfg: RunConfig, command: str) -> None:
    """Raise what a new run would be refused for after minutes or hours, before it leaves a folder."""
    refuse_without_weights(cfg, to_come(cfg, command))
    if rendered(cfg):
        return
    for problem in split_problems(cfg, load_annotations(cfg.data)):
        raise UserError(problem)


def rendered(cfg: RunConfig) -> bool:
    """Tell whether the videos are made by the run itself."""
    return cfg.data.name == "synthetic_diving"


def read_annotations(cfg: RunConfig) -> Annotations:
    """Read the annotation files. ListsAbsentError where they are not here, UserError where they cannot be read."""
    here = [Path(cfg.data.root).expanduser()] if cfg.data.root else annotation_files(cfg.data)
    absent = [path for path in here if not path.exists()]
    if absent and cfg.data.name != "csv":
        raise ListsAbsentError(f"{cfg.data.name}: {absent[0]} is not here")
    return load_annotations(cfg.data)


def _to_render(cfg: RunConfig) -> str:
    """Say what videos the run renders. Raises UserError where it cannot."""
    made = cfg.data.synthetic
    if cfg.data.open_world.known:
        draw_classes(made.class_names, cfg.data.open_world)
    return (
        f"{cfg.data.name}: {len(made.class_names)} classes, {made.train_per_class} training and "
        f"{made.test_per_class} test videos each, rendered by the run"
    )


def _about(found: Annotations) -> str:
    """Say what the lists hold, and what of it is not here."""
    paths = found.clips["path"].to_pylist()  # what lies behind a URL is not asked for here
    missing = sum(not Path(path).exists() for path in paths if not is_url(path))
    note = f"{found.dataset} {found.version}: {found.clips.num_rows:,} clips, {len(found.classes)} classes".strip()
    note += "".join(f"\n            note: {remark}" for remark in found.remarks)
    return note + (
        f"; {counted(missing, 'video is', 'videos are')} not here (`finepseudo check` lists them)" if missing else ""
    )


def folder_problems(cfg: RunConfig, *, force: bool) -> Iterator[str]:
    """Say for what else the run folder was made."""
    try:
        refuse_other_data(cfg, force=force)
    except UserError as error:
        yield str(error)


def split_problems(cfg: RunConfig, found: Annotations) -> Iterator[str]:
    """Say why the label split of a seed cannot be drawn: roles that do not fit, no labels of a class, no pool."""
    for seed in cfg.seeds:
        try:
            split = draw_split(found, cfg.split, seed)
            check_pool(split, cfg.methods)
            check_ready(split, cfg.methods, cfg.method)
        except UserError as error:
            yield str(error)
            return


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How large the parts of a run are."""

    labelled: int
    unlabelled: int
    test: int
    gallery: int
    shards: int
    method: str

    def lines(self, cfg: RunConfig) -> list[str]:
        """Write the sizes as plain lines."""
        frames, width = cfg.frame_input.sampling.frames, cfg.frame_encoder.size("embedding")
        embedded = 4 * (self.labelled + self.unlabelled) * frames * width
        views = cfg.evaluate.views * cfg.evaluate.crops
        roles = f"{self.labelled:,} labelled, {self.unlabelled:,} unlabelled, {self.test:,} test"
        product = f"{self.unlabelled:,} clips x {self.gallery:,} in the gallery, {frames} x {frames} frames"
        return [
            f"split       {roles} ({self.method}; seed {cfg.seeds[0]})",
            f"shards      {counted(self.shards, 'tar')} of up to {cfg.shards.clips_per_shard} clips, "
            + cfg.shards.profile
            + (f", in {cfg.shards.store}" if cfg.shards.store else ""),
            f"alignment   {self.unlabelled * self.gallery:,} soft-DTW distances a round ({product})",
            f"embeddings  {bytes_text(embedded)} a round",
            f"test        {self.test * views:,} views a method and seed",
        ]


def measure(cfg: RunConfig, found: Annotations) -> Size:
    """Count what the first seed's split makes of the annotations."""
    split = draw_split(found, cfg.split, cfg.seeds[0])
    labelled = split.items("labelled")
    per_class = Counter(labelled.labels.tolist())
    return Size(
        labelled=len(labelled),
        unlabelled=len(split.keys("unlabelled")),
        test=len(split.keys("test")),
        gallery=sum(min(cfg.embed.gallery_per_class, n) for n in per_class.values()),
        method=split.method,
        shards=-(-found.clips.num_rows // cfg.shards.clips_per_shard),
    )


CLIP_BYTES = 300_000
"""A clip of some seconds in a shard, of a short side of 256."""


def bytes_written(cfg: RunConfig) -> int | None:
    """Estimate what a run writes: shards, and embeddings of every round that makes them; None without its lists."""
    if rendered(cfg):
        made = cfg.data.synthetic
        clips = len(made.class_names) * (made.train_per_class + made.test_per_class)
    else:
        try:
            found = read_annotations(cfg)
        except UserError:
            return None
        clips = found.clips.num_rows
    with Reporter(cfg.folder, tensorboard=False) as reporter:
        rounds = sum(stage.kind == "embeddings" for group in make_plan(Run(cfg, reporter)) for stage in group)
    embedded = clips * rounds * cfg.frame_input.sampling.frames * cfg.frame_encoder.size("embedding") * 4
    return clips * CLIP_BYTES + embedded


def resource_lines(cfg: RunConfig) -> list[str]:
    """Write what each job takes."""
    taken = cfg.resources
    workers = "a worker on each GPU (auto)" if taken.workers == "auto" else counted(taken.workers, "worker")
    return [
        f"training    {workers} for each encoder, CPUs of a worker: {taken.cpus_per_worker:g}, "
        f"device {taken.device}, both encoders side by side: {taken.parallel_encoders}",
        f"mapping     actors: {taken.embed_actors} embedding, {taken.score_actors} aligning; "
        f"{counted(taken.write_tasks, 'shard')} written at a time",
    ]


def plan_lines(states: Sequence[Sequence[StageState]]) -> Iterator[str]:
    """List stages with what will happen to them, and the finished work that is given up."""
    yield from (f"  {line}" for line in folded(state for group in states for state in group))
    yield from loss_lines(states)
