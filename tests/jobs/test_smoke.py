"""The recipe `smoke` on a real Ray, from rendering to the report: what it leaves, and that a kill changes nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finepseudo import load_run
from finepseudo.run_folder.done import is_done
from finepseudo.training.checkpoint import load_weights
from jobs.cli.main import main
from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from jobs.workers.embed import SCHEMA as EMBEDDINGS
from shards.annotations.base import Annotations, read_clips, write_clips
from shards.splits.label_split import read_split
from tests.test_files_page import undescribed

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
RESULTS = (
    "seed-0/finepseudo/round-00/pseudo_labels.parquet",
    "seed-0/finepseudo/round-01/pseudo_labels.parquet",
    "seed-0/finepseudo/round-01/action_encoder/weights.safetensors",
    "seed-0/finepseudo/round-01/frame_encoder/weights.safetensors",
    "seed-0/supervised/evaluation/predictions.parquet",
)


@pytest.fixture(scope="module")
def whole(ray_cluster, tmp_path_factory) -> Path:
    """An undisturbed run."""
    out = tmp_path_factory.mktemp("whole")
    assert main(["run", "--recipe", "smoke", f"out={out}"]) == 0
    return out / "smoke"


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def table_of(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))])


def test_every_file_of_a_run_is_there_and_fits_together(whole):
    split = read_split(whole / "seed-0" / "split.parquet")
    embedded = table_of(whole / "seed-0/round-00/embeddings")
    assert embedded.schema.remove_metadata() == EMBEDDINGS
    keys = embedded["key"].to_pylist()
    assert keys == sorted([*split.keys("labelled"), *split.keys("unlabelled")])
    scored = table_of(whole / "seed-0/round-00/scores")
    assert scored["key"].to_pylist() == split.keys("unlabelled")
    for number in (0, 1):
        labels = pq.read_table(whole / f"seed-0/finepseudo/round-{number:02d}/pseudo_labels.parquet")
        assert labels["key"].to_pylist() == split.keys("unlabelled")
        p, named = (np.array(labels[name].to_pylist()) for name in ("p", "classes"))
        assert (labels["label"].to_numpy() == named[range(len(p)), p.argmax(1)]).all()
    for method in ("supervised", "finepseudo"):
        metrics = json.loads((whole / f"seed-0/{method}/evaluation/metrics.json").read_text())
        assert metrics["n"] == len(split.keys("test")) == sum(map(sum, metrics["confusion"]))
        assert metrics["n_invalid"] == 0
        predictions = pq.read_table(whole / f"seed-0/{method}/evaluation/predictions.parquet")
        assert predictions["key"].to_pylist() == split.keys("test")
        right = (predictions["label"].to_numpy() == predictions["prediction"].to_numpy()).mean()
        assert metrics["top1"] == pytest.approx(right)
    with np.load(whole / "seed-0/finepseudo/evaluation/examples.npz") as examples:
        assert examples["same_cost"].shape == examples["different_alignment"].shape == (16, 16)
        assert examples["same_frames_u"].shape == (16, 40, 40, 3)
    assert "<html" in (whole / "report.html").read_text()
    assert {"config.yaml", "environment.json", "metrics.jsonl"} <= {path.name for path in whole.iterdir()}


def test_docs_describe_every_file(whole):
    assert undescribed(whole) == []


def test_the_log_has_every_curve_once(whole):
    written = lines(whole)
    names = {name for line in written for name in line}
    assert {"train/loss", "train/lr", "data/wait_fraction", "align/score_monotone"} <= names
    assert {"align/pairs_per_s", "align/pairs_per_s_with_files"} <= names
    assert {"pseudo/accepted", "eval/top1"} <= names
    assert "eval/top5" not in names, "of four classes any five names hold the right one"
    marks = [(line.get("method"), line.get("round"), line["stage"], line["step"], tuple(line)) for line in written]
    assert len(set(marks)) == len(marks)


def test_the_same_command_again_does_nothing(whole, capsys):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("DONE.json")}
    assert main(["run", "--recipe", "smoke", f"out={whole.parent}"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("DONE.json")} == before


def test_another_number_of_dropout_passes_trains_nothing_again(whole, tmp_path, capsys):
    """The spread stands in the record of the vote, and no vote of this run reads it; the survey says so afterwards."""
    copy = tmp_path / "smoke"
    shutil.copytree(whole, copy)
    line = ["--recipe", "smoke", f"out={tmp_path}", "action_encoder.mc_passes=7"]
    assert main(["run", *line]) == 0
    said = capsys.readouterr().out
    assert "seed-0/finepseudo/round-00/pseudo_labels: starts" in said
    assert "_encoder: starts" not in said
    assert "pretrain: starts" not in said
    one, two = (pq.read_table(path / RESULTS[0]) for path in (whole, copy))
    assert one["uncertainty"] != two["uncertainty"]
    assert one.drop_columns(["uncertainty"]).equals(two.drop_columns(["uncertainty"]))
    assert main(["run", *line, "--dry-run"]) == 0
    assert "undone" not in capsys.readouterr().out


def test_one_actor_and_two_make_the_same_tables(whole, tmp_path):
    copy = tmp_path / "smoke"
    shutil.copytree(whole, copy)
    for name in ("embeddings", "scores"):
        (copy / "seed-0/round-00" / name / "DONE.json").unlink()
    two = ["resources.embed_actors=2", "resources.score_actors=2"]
    assert main(["embed", "--recipe", "smoke", f"out={tmp_path}", *two]) == 0
    assert main(["score", "--recipe", "smoke", f"out={tmp_path}", *two]) == 0
    for name in ("embeddings", "scores"):
        parts = sorted((whole / "seed-0/round-00" / name).glob("part-*.parquet"))
        assert len(parts) == 5
        for part in parts:
            assert pq.read_table(part).equals(pq.read_table(copy / "seed-0/round-00" / name / part.name))


def test_one_video_is_predicted_by_a_run_of_any_method(whole, tmp_path, capsys):
    """With f_A and without: a run whose only method is `supervised` has no embeddings."""
    video = next((whole / "data" / "videos").rglob("*.mp4"))
    line = ["predict", str(video), "--name", "smoke"]
    assert main([*line, f"out={whole.parent}"]) == 0
    assert "best-aligned labelled clips" in capsys.readouterr().out
    copy = tmp_path / "smoke"
    gone = shutil.ignore_patterns("embeddings", "scores", "frame_encoder", "pretrain", "finepseudo")
    shutil.copytree(whole, copy, ignore=gone)
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("- finepseudo\n", ""))
    assert main([*line, f"out={tmp_path}"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "most likely classes"
    assert len(said) == 5


def test_predictions_of_the_test_videos_are_those_of_the_test(whole):
    """From the files the clips were made of, by every method; p_A is that of the pseudo-labels of the same round."""
    run = load_run(whole)
    paths = dict(zip(run.clips()["key"].to_pylist(), run.clips()["path"].to_pylist(), strict=True))
    for method in ("supervised", "finepseudo"):
        tested = run.predictions(0, method)
        made = run.predict([paths[key] for key in tested["key"].to_pylist()], method=method)
        assert np.allclose(made["p"].to_pylist(), tested["p"].to_pylist(), atol=1e-5)
    labels = run.pseudo_labels(0, "finepseudo").slice(0, 4)
    made = run.predict([paths[key] for key in labels["key"].to_pylist()])
    assert np.allclose(made["confidence_A"].to_pylist(), labels["p_A_max"].to_pylist(), atol=1e-4)


def test_labels_of_unlabelled_clips_reach_no_training(whole, tmp_path):
    """Garbage in the clip table behind the split changes no weight and no pseudo-label."""
    copy = tmp_path / "smoke"
    shutil.copytree(whole, copy)
    found = read_clips(copy / "data/clips.parquet")
    hidden = set(read_split(copy / "seed-0/split.parquet").keys("unlabelled"))
    rows = zip(found.clips["key"].to_pylist(), found.clips["label"].to_pylist(), strict=True)
    labels = [0 if key in hidden else label for key, label in rows]
    table = found.clips.set_column(found.clips.schema.get_field_index("label"), "label", pa.array(labels, pa.int32()))
    garbage = Annotations(clips=table, classes=found.classes, dataset=found.dataset, version=found.version)
    write_clips(copy / "data/clips.parquet", garbage)
    shutil.rmtree(copy / "seed-0/round-00/action_encoder")
    cfg = load("smoke", [f"out={tmp_path}"])
    run = Run(cfg, Reporter(cfg.folder, tensorboard=False))
    (stage,) = [stage for group in make_plan(run) for stage in group if stage.name == "seed-0/round-00/action_encoder"]
    assert not is_done(stage.identity)
    stage.run()
    name = "seed-0/round-00/action_encoder/weights.safetensors"
    one, two = load_weights(whole / name), load_weights(copy / name)
    assert all(bool((one[key] == two[key]).all()) for key in one)


def start(out: Path) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jobs", "run", "--recipe", "smoke", f"out={out}"]
    with (out / "log").open("a") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def wait_for(process: subprocess.Popen, log: Path, step: int) -> None:
    """Wait until a stage has logged a step."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        assert process.poll() is None, "the run ended before it could be disturbed"
        if log.exists() and any(json.loads(line)["step"] >= step for line in log.read_text().splitlines()):
            return
        time.sleep(0.05)
    raise AssertionError(f"{log} never reached step {step}")


def kill_a_training_worker(driver: int) -> None:
    """End one training worker of the Ray that `driver` started, as the kernel does when memory is short."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], check=True, capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    parent = {int(row[0]): int(row[1]) for row in rows}
    workers = [int(row[0]) for row in rows if "RayTrainWorker" in row[-1] and is_below(int(row[0]), driver, parent)]
    os.kill(workers[0], signal.SIGKILL)


def is_below(process: int, ancestor: int, parent: dict[int, int]) -> bool:
    while process in parent and process != ancestor:
        process = parent[process]
    return process == ancestor


def test_a_run_killed_and_stopped_half_way_ends_as_an_undisturbed_one(whole, tmp_path):
    """SIGKILL of the driver, then of one training worker, then a stop request, each in the middle of a stage."""
    run = tmp_path / "smoke"
    for name in ("data", "pretrain"):
        shutil.copytree(whole / name, run / name)
    (run / "seed-0").mkdir()
    for name in ("config.yaml", "seed-0/split.parquet", "seed-0/DONE.json"):
        shutil.copy(whole / name, run / name)

    process = start(tmp_path)
    wait_for(process, run / "seed-0/round-00/frame_encoder/metrics.jsonl", 8)
    process.send_signal(signal.SIGKILL)
    process.wait()

    process = start(tmp_path)
    wait_for(process, run / "seed-0/supervised/round-01/action_encoder/metrics.jsonl", 3)
    kill_a_training_worker(process.pid)
    wait_for(process, run / "seed-0/finepseudo/round-01/frame_encoder/metrics.jsonl", 3)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(120) in (75, 0), (tmp_path / "log").read_text()

    process = start(tmp_path)
    assert process.wait(400) == 0, (tmp_path / "log").read_text()
    for name in RESULTS:
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    losses = [
        [
            (line["stage"], line.get("round"), line["step"], line["train/loss"])
            for line in lines(r)
            if "train/loss" in line
        ]
        for r in (whole, run)
    ]
    assert set(losses[1]) <= set(losses[0])
    assert not list(run.rglob("STARTED.json"))
    assert not list(run.rglob(".*.tmp"))


def test_after_clean_a_run_does_nothing_and_report_and_predict_work(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "smoke", symlinks=True)
    assert main(["clean", str(tmp_path / "smoke"), "--yes"]) == 0
    assert not list((tmp_path / "smoke/seed-0/round-00/embeddings").glob("part-*"))
    where = ["--name", "smoke", f"out={tmp_path}"]
    capsys.readouterr()
    assert main(["run", "--recipe", "smoke", f"out={tmp_path}"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    (tmp_path / "smoke" / "report.html").unlink()
    assert main(["report", *where]) == 0
    assert (tmp_path / "smoke" / "report.html").stat().st_size > 10_000
    video = next((tmp_path / "smoke" / "data" / "videos").rglob("*.mp4"))
    assert main(["predict", str(video), *where]) == 0
    assert "align" in capsys.readouterr().out
