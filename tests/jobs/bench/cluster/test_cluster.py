"""The benchmark of the cluster as a command, at its smallest size, and the clocks that it reads. No time is judged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from jobs.bench.cluster import labelling, notice, scoring, training
from jobs.bench.cluster.spent import Pace, Stamp, middle, steady, tree_seconds
from jobs.cli.main import main
from jobs.config.sections import ResourcesConfig
from jobs.workers import map_parts
from jobs.workers.map_parts import Pool
from jobs.workers.part_files import parts
from jobs.workers.train import train_rank
from tests.jobs.bench.test_data import cells


def test_the_pace_is_that_after_the_start() -> None:
    stamps = [Stamp(1, 20.0, 3.0), Stamp(2, 30.0, 4.0), Stamp(4, 32.0, 8.0)]
    assert steady(stamps, 1) == Pace(1.0, 2.0)
    assert steady(stamps, 9) == Pace(1.0, 2.0), "the last unit at least"
    assert middle([Pace(1, 5), Pace(3, 4), Pace(2, 9)]) == Pace(2, 5)


def test_time_of_children_and_of_theirs_counts_while_they_live_and_afterwards() -> None:
    burn = "import time; end = time.process_time() + .3\nwhile time.process_time() < end: pass\n"
    outer = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {burn!r}])\nprint(flush=True); input()"
    )
    before = tree_seconds(os.getpid())
    line = [sys.executable, "-S", "-c", outer]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        living = tree_seconds(os.getpid())
        process.communicate(b"\n")
    assert living - before >= 0.25
    assert tree_seconds(os.getpid()) >= living


def test_the_bare_loop_scores_every_clip_of_the_pool(tmp_path: Path) -> None:
    pool = scoring.Extent(clips=20, classes=4, per_class=2, frames=4, features=8, chunk=6)
    job = scoring.write_pool(tmp_path, pool)
    assert scoring.bare(job).wall > 0
    tables = [pq.read_table(path) for path in parts(job.folder)]
    assert sum(table.num_rows for table in tables) == 20
    assert len(tables) == len(parts(job.embeddings)) == 5
    assert pool.pairs_of_part == 20 * 8 / 5


def test_a_pool_that_is_stopped_says_how_far_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Ray: the parts are finished one by one, and the stop request ends the stage as Slurm's would."""
    monkeypatch.setattr(scoring, "plan_pool", lambda actors, _resources: Pool(actors=actors, cpus=1, gpu=False))
    monkeypatch.setattr(map_parts, "_execute", lambda work, rows: map(work.worker(work.told, work.pool), rows))
    job = scoring.write_pool(tmp_path, scoring.Extent(clips=22, classes=4, per_class=2, frames=4, features=8, chunk=3))
    lines: list[str] = []
    found = scoring.for_minutes(job, 1, 0.0, lines.append)
    assert 3 <= found.parts <= found.total == 10
    assert found.pace.wall > 0
    assert lines[0].startswith("1 of 10 parts")


def test_a_run_is_given_notice_again_and_again_until_there_were_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = iter([notice.Notice(doing="a", seconds=3, code=75), None, notice.Notice(doing="b", seconds=5, code=75)])
    asked: list[tuple[str, float]] = []

    def one(folder: Path, seconds: float) -> notice.Notice | None:
        asked.append((folder.name, seconds))
        return next(ends)

    monkeypatch.setattr(notice, "notice_after", one)
    assert [found.doing for found in notice.notices(tmp_path, 2, 60)] == ["a", "b"]
    assert [name for name, _ in asked] == ["run0", "run0", "run1"], "a run that is finished is followed by another"
    assert len({seconds for _, seconds in asked}) == 3 and all(2 <= seconds <= 60 for _, seconds in asked)


@pytest.mark.slow
def test_the_memory_of_the_driver_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    labelling.write_numbers(tmp_path, 40, 5)
    found = labelling.measured(tmp_path, 40, 5, 2)
    assert 0 < found.imports <= found.peak
    kept = pq.read_table(tmp_path / "pseudo_labels.parquet")["classes"].to_pylist()
    assert [len(classes) for classes in kept] == [2] * 40


@pytest.mark.parametrize(
    ("options", "said"),
    [(["bogus"], "bogus: no such part; known: scoring"), (["--folder", "."], "is not empty; give another one")],
)
def test_odd_lines_are_refused(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "cluster", *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--rounds", "0"], ["--actors", "0"], ["--minutes", "0"]])
def test_odd_numbers_are_refused(options: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "cluster", *options])


@pytest.mark.slow
def test_a_worker_and_the_bare_loop_take_the_same_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's own function, without Ray: its clocks stand in the log of its steps."""
    steps = training.Extent(variant="tiny", frames=8, side=32, every=1, looks=2)
    asked: list[int] = []

    def fit(job: training.PreparedJob, resources: ResourcesConfig) -> None:
        asked.append(resources.workers)
        assert train_rank(job, 0, 1, torch.device("cpu")) == "done"

    monkeypatch.setattr(training, "fit", fit)
    found = training.under_ray(steps, tmp_path, 2)
    assert asked == [2]
    assert len(found) == len(training.bare(steps)) == 2
    assert all(pace.wall > 0 and pace.processor > 0 for pace in found)


@pytest.mark.ray
@pytest.mark.slow
def test_the_quick_run_measures_scoring_under_ray(ray_cluster: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "cluster", "--quick", "scoring"]) == 0
    found = cells(capsys.readouterr().out)
    judged = {name: row for name, row in found.items() if row[0]}
    assert len(judged) == 4 and all(float(row[2]) > 0 for row in judged.values())
    assert {row[4] for row in judged.values()} <= {"aim", "must", "MISSED"}
