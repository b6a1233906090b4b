"""Read the annotations, decode every clip once and write the shards: a Ray Data job, or all in this process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from finepseudo.run_folder.layout import RunPaths
from jobs.cluster import preempt
from jobs.cluster.preempt import Preempted
from jobs.config.run import RunConfig
from jobs.progress import Reporter
from jobs.workers.map_parts import refusing, stream
from shards.annotations import load as load_annotations
from shards.annotations.base import Annotations, write_clips
from shards.annotations.config import DatasetConfig
from shards.annotations.synthetic_diving import render_part
from shards.errors import UserError
from shards.storage.manifest import Manifest
from shards.write.plans import PlannedClip, ShardPlan, plan_shards
from shards.write.store import claim_store
from shards.write.writer import ShardResult, finish, write_shard

IN_PROCESS = 2
"""So few shards are written without a task of their own: starting workers would take longer."""


def data_config(cfg: RunConfig, paths: RunPaths) -> DatasetConfig:
    """Say where rendered videos go when the recipe leaves it open: into the run folder."""
    if cfg.data.name == "synthetic_diving" and not cfg.data.root:
        return replace(cfg.data, root=str(paths.data / "videos"))
    return cfg.data


def write_data(cfg: RunConfig, paths: RunPaths, reporter: Reporter) -> Manifest:
    """Write clips.parquet, the shards and quarantine.parquet; `UserError` over `reading.max_bad_fraction`."""
    data, say = data_config(cfg, paths), reporter.tell
    if data.name == "synthetic_diving" and cfg.resources.write_tasks > 1:
        _render_with_ray(data, cfg.resources.write_tasks)
    found = load_annotations(data)
    say(f"{found.dataset} {found.version}: {found.clips.num_rows:,} clips, {len(found.classes)} classes".strip())
    for remark in found.remarks:
        say(f"note: {remark}")
    write_clips(paths.clips, found)
    plans = plan_shards(found.clips, cfg.shards, cfg.data.frame_rate, cfg.data.frame_files)
    claim_store(plans, cfg.shards)
    paths.shards.mkdir(parents=True, exist_ok=True)
    results: list[ShardResult] = []
    with reporter.counting("data") as count:
        count(0, len(plans))
        for result in _write(plans, paths, cfg):
            results.append(result)
            note = f", {len(result.quarantine)} to quarantine" if result.quarantine else ""
            note += "" if result.written else " (there already)"
            say(f"shard {len(results)}/{len(plans)}: {len(result.rows)} clips{note}")
            count(len(results), len(plans))
    manifest = finish(paths.shards, results, cfg.shards, quarantine=paths.quarantine)
    say_remarks(results, say)
    check_quarantine(cfg, paths.quarantine, found, say)
    return manifest


def _render_with_ray(cfg: DatasetConfig, tasks: int) -> None:
    """Render the missing videos in several processes; reading the data set then finds them there."""
    import ray

    @ray.remote(num_cpus=1, max_retries=3)  # type: ignore[untyped-decorator]
    def task(part: int) -> int:
        return render_part(cfg, part, tasks)

    ray.get([task.remote(part) for part in range(tasks)])


def _write(plans: Sequence[ShardPlan], paths: RunPaths, cfg: RunConfig) -> Iterator[ShardResult]:
    tasks = cfg.resources.write_tasks
    if tasks == 0 or len(plans) <= IN_PROCESS:
        for plan in plans:
            if preempt.requested(paths.root):
                raise Preempted
            yield write_shard(plan, paths.shards, cfg.shards)
        return
    yield from _write_with_ray(plans, paths, cfg, tasks)


def _write_with_ray(plans: Sequence[ShardPlan], paths: RunPaths, cfg: RunConfig, tasks: int) -> Iterator[ShardResult]:
    """Write on any node, `tasks` shards at a time; a task whose worker died is run again, and finds or rewrites its."""
    folder, shards = paths.shards.resolve(), cfg.shards

    @refusing
    def write(row: dict[str, Any]) -> dict[str, Any]:
        return {"result": json.dumps(asdict(write_shard(_plan(json.loads(row["plan"])), folder, shards)))}

    def job() -> Iterator[dict[str, Any]]:
        import ray
        from ray.data import TaskPoolStrategy

        rows = [{"plan": json.dumps(asdict(plan))} for plan in plans]
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        yield from data.map(write, compute=TaskPoolStrategy(size=tasks), num_cpus=1).iter_rows()

    for row in stream(job, 60 * cfg.resources.data_timeout_min, paths.root):
        yield ShardResult(**json.loads(row["result"]))


def _plan(values: dict[str, Any]) -> ShardPlan:
    return ShardPlan(**{**values, "clips": tuple(PlannedClip(**clip) for clip in values["clips"])})


def say_remarks(results: Sequence[ShardResult], say: Callable[[str], None]) -> None:
    """Print what is odd with clips that were stored all the same, by reason with an example."""
    remarks = [remark for result in results for remark in result.remarks]
    examples = {remark["reason"]: f"{Path(remark['path']).name}: {remark['detail']}" for remark in remarks}
    for reason, count in Counter(remark["reason"] for remark in remarks).most_common():
        say(f"note: {count:,} clips {reason}, e.g. {examples[reason]}")


def check_quarantine(cfg: RunConfig, path: Path, found: Annotations, say: Callable[[str], None]) -> None:
    """Print the quarantine by reason; refuse to go on over `reading.max_bad_fraction`."""
    table = pq.read_table(path, columns=["path", "reason"])
    if not table.num_rows:
        say("quarantine: no clip")
        return
    share = table.num_rows / found.clips.num_rows
    say(f"quarantine: {table.num_rows:,} of {found.clips.num_rows:,} clips ({100 * share:.1f} %), listed in {path}")
    examples = dict(zip(table["reason"].to_pylist(), table["path"].to_pylist(), strict=True))
    for reason, count in Counter(table["reason"].to_pylist()).most_common():
        say(f"  {count:6,}  {reason:24} e.g. {Path(examples[reason]).name}")
    if share > cfg.reading.max_bad_fraction:
        raise UserError(
            f"{table.num_rows:,} of {found.clips.num_rows:,} clips ({100 * share:.1f} %) cannot be used, more than "
            f"reading.max_bad_fraction {cfg.reading.max_bad_fraction}; fix the files in {path} or raise that key"
        )
