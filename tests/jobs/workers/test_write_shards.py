"""The shards of a run, written in this process or by tasks of a Ray: the same bytes, and a stop loses nothing."""

import pytest

from finepseudo.run_folder.layout import RunPaths
from jobs.cluster import preempt
from jobs.cluster.preempt import Preempted
from jobs.config.recipes import load
from jobs.progress import Reporter
from jobs.workers.write_shards import write_data

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def write(folder, tasks):
    cfg = load("smoke", [f"out={folder}", "shards.clips_per_shard=8", f"resources.write_tasks={tasks}"])
    paths = RunPaths(cfg.folder)
    paths.root.mkdir(parents=True, exist_ok=True)
    return paths, lambda: write_data(cfg, paths, Reporter(paths.root, tensorboard=False))


def contents(paths):
    return {path.name: path.read_bytes() for path in paths.shards.iterdir() if path.suffix in (".tar", ".idx")}


def test_tasks_write_what_one_process_writes_also_after_a_stop(ray_cluster, tmp_path, capsys):
    alone, by_one = write(tmp_path / "one", 0)
    assert len(by_one().shards) == 7
    shared, by_three = write(tmp_path / "three", 3)
    preempt.clear(shared.root)
    (shared.root / "STOP").write_text("stop\n")
    with pytest.raises(Preempted):
        by_three()
    assert not (shared.shards / "manifest.json").exists()
    preempt.clear(shared.root)
    capsys.readouterr()
    by_three()
    assert contents(shared) == contents(alone)
    by_three()
    assert capsys.readouterr().out.count("(there already)") >= 7
