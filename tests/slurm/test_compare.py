"""The array of slurm/compare.sh on two nodes: tasks side by side, one table at the end, and the same line goes on."""

import csv

import pytest

from tests.slurm.lab import REPOSITORY
from tests.slurm.test_run import RECIPE

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
SCRIPT = REPOSITORY / "slurm" / "compare.sh"
SIZE = ["--nodes=1", "--cpus-per-task=4", "--gpus-per-node=0", "--time=20", "--array=0-1", "--output=compare-%a.log"]
LINE = [*RECIPE, "--name", "c", "--methods", "supervised,pseudo_label", "--seeds", "0", "resources.workers=1"]


def finish(lab, job, folder, seconds):
    lab.until(
        lambda: not lab.command("squeue", "--noheader", "--jobs", job, check=False), seconds, lambda: said(folder)
    )


def said(folder):
    return "\n".join(path.read_text() for path in sorted(folder.glob("compare-*.log")))


def test_an_array_ends_in_one_table_and_the_same_line_again_has_nothing_to_do(lab, tmp_path):
    job = lab.submit(SCRIPT, *LINE, options=SIZE, cwd=tmp_path)
    finish(lab, job, tmp_path, 600)
    table = tmp_path / "runs" / "c" / "compare.csv"
    assert table.exists(), said(tmp_path)
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["method"] for row in rows] == ["supervised", "pseudo_label"]
    assert all(row["top1_mean"] and row["steps_mean"] and row["clips_mean"] for row in rows)
    assert said(tmp_path).count("seed-0/round-00/action_encoder: starts") == 1, "shared by both tasks"
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("DONE.json")}
    job = lab.submit(SCRIPT, *LINE, options=SIZE, cwd=tmp_path)
    finish(lab, job, tmp_path, 300)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("DONE.json")} == done
