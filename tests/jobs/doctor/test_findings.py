"""What the doctor makes of what it finds: tables of findings, and the real folder, ports and lists of this machine."""

import os
import shutil
from functools import partial

import pytest
import torch

from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.training.checkpoint import save_weights
from jobs.config.recipes import load
from jobs.doctor import cluster, device, other_node, recipe, storage
from jobs.doctor.checks import Finding, Result, exit_code, run_checks, summary
from shards.read.nvdec import CodecLimits, VideoEngine
from tests.shards.make_clips import write_numbered

LIMITS = CodecLimits(width=(48, 4096), height=(48, 4096), macroblocks=65536, engines=1)
SLURM = "SLURM_VERSION = 22.05.8\nJobRequeue  = {}\n"


@pytest.mark.parametrize(
    ("finding", "state", "words"),
    [
        (device.judge_engine(VideoEngine({"h264": LIMITS, "vp9": LIMITS}), "h264"), "ok", "h264, vp9"),
        (device.judge_engine(VideoEngine({"hevc": LIMITS}), "vp9"), "warn", "hevc, not vp9: PyAV"),
        (device.judge_engine(VideoEngine({"hevc": LIMITS}), "copy"), "ok", "hevc"),
        (device.judge_engine("libnvcuvid.so.1 is missing", "h264"), "warn", "is missing: PyAV decodes"),
        (cluster.judge_start(4.0, 9.0), "ok", "after 9.0 s, 4.0 of them"),
        (cluster.judge_start(25.0, 31.0), "warn", "after 31.0 s"),
        (
            cluster.judge_slurm(["gpu* 8 gpu:4 1-00:00:00 up"], SLURM.format(1)),
            "ok",
            ".8: gpu* 8 nodes (gpu:4, ",
        ),
        (cluster.judge_slurm(["cpu 2 (null) infinite up"], SLURM.format(0)), "ok", "scripts here ask for it"),
        (cluster.judge_slurm(["gpu* 8 gpu:4 1-00:00:00 drain", ""], SLURM.format(1)), "fail", "no partition is up"),
        (cluster.judge_ports([32768, 60999]), "ok", "20000-31999"),
        (cluster.judge_ports([1024, 65535]), "warn", "hands out 1024-65535"),
        (cluster.judge_ports([]), "ok", "20000-31999"),
        (storage.judge_speed("/f", 400.0, 900.0), "ok", "400 MB/s written, 900 MB/s read"),
        (storage.judge_speed("/f", 12.0, 900.0), "warn", "12 MB/s written"),
        (storage.judge_delay("n2", 0.3), "ok", "n2 sees a new file after 0.3 s"),
        (storage.judge_delay("n2", 61.0), "warn", "after 61.0 s"),
        (storage.judge_delay("n2", None), "fail", "does not see a new file"),
    ],
)
def test_each_finding_has_its_state(finding, state, words):
    assert finding.state == state
    assert words in finding.found
    assert bool(finding.todo) == (state != "ok"), "what is wrong says what to do"


@pytest.mark.parametrize(("wanted", "state"), [("cpu", "ok"), ("auto", "warn"), ("gpu", "fail")])
def test_no_gpu_is_as_bad_as_the_recipe_needs_one(wanted, state, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert device.driver(load("smoke", [f"resources.device={wanted}"])).state == state


def test_a_check_that_breaks_is_a_failed_one_and_the_others_run():
    def breaks():
        raise OSError("two\nlines")

    results = list(run_checks([("a", breaks), ("b", lambda: Finding("ok", "fine"))]))
    assert [result.line().split(maxsplit=2) for result in results] == [
        ["fail", "a", "OSError: two lines"],
        ["ok", "b", "fine"],
    ]
    assert exit_code(results) == 1
    assert exit_code([Result(check="c", finding=Finding("warn", "slow"))]) == 0
    assert summary(results) == "1 ok, 0 warn, 1 fail, 0 skip"


def test_the_folder_is_looked_at_and_left_as_it_was(tmp_path):
    there = tmp_path / "runs" / "not" / "yet"
    assert storage.speed(there).found.startswith(f"{tmp_path}: ")
    assert storage.locks(there).state == "ok"
    free = shutil.disk_usage(tmp_path).free
    assert [storage.room(there, needed).state for needed in (None, 1, int(0.7 * free), 2 * free)] == [
        "ok",
        "ok",
        "warn",
        "fail",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_locks_is_a_risk(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda *_: None)  # as where every node says yes
    found = storage.locks(tmp_path)
    assert found.state == "warn"
    assert "two commands may work in a run" in found.found


def test_ports_of_this_machine_are_to_be_had():
    assert cluster.ports().state in ("ok", "warn")


@pytest.fixture
def two_nodes(tmp_path, monkeypatch):
    """An allocation of two nodes whose srun starts the program here."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "srun").write_text('#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n')
    (tools / "scontrol").write_text("#!/bin/bash\nprintf 'n1\\nn2\\n'\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    for name, value in (("JOB_ID", "7"), ("JOB_NODELIST", "n[1-2]")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURMD_NODENAME", "n1")


def test_another_node_says_when_it_sees_a_new_file(two_nodes, tmp_path):
    found = storage.negative_cache(tmp_path)
    assert found.state == "ok"
    assert found.found.startswith("n2 sees a new file after ")


def test_outside_of_an_allocation_other_nodes_are_not_asked(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    for found in (storage.negative_cache(tmp_path), other_node.collective()):
        assert found.state == "skip"
        assert "salloc --nodes=2" in found.found


def test_a_sum_over_nodes_that_fails_says_why(two_nodes, monkeypatch):
    monkeypatch.setattr(other_node, "node_address", lambda _: "127.0.0.1")
    monkeypatch.setattr(other_node, "_srun", lambda *_: ["bash", "-c", "echo 'no route to host' >&2; exit 1"])
    found = other_node.collective()
    assert (found.state, found.found) == ("fail", "no route to host")
    monkeypatch.setattr(other_node, "_srun", lambda *_: ["echo", '{"backend": "nccl", "gigabytes_per_s": 20.5}'])
    assert other_node.collective() == Finding("ok", "nccl over 2 nodes: 20.50 GB/s summed")


@pytest.mark.parametrize(
    ("overrides", "state", "words"),
    [
        ([], "fail", "needs kinetics_sup:FILE"),
        (["action_encoder.weights=random"], "ok", "begins at random"),
        (["action_encoder.weights=tclr:/nowhere.pth"], "fail", "/nowhere.pth is not there"),
    ],
)
def test_weights_are_given_and_there(overrides, state, words):
    found = recipe.weights(load("diving48", overrides), "action_encoder")
    assert found.state == state
    assert words in found.found


def test_videos_of_a_list_are_looked_for_and_decoded(tmp_path):
    rows = []
    for name in ("a", "b", "c", "d"):
        write_numbered(tmp_path / f"{name}.mp4", 8)
        rows.append(f"{name}.mp4,{'tuck' if name in 'ab' else 'pike'},{'train' if name in 'ac' else 'test'}")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    cfg = load("smoke", [], {"data": {"name": "csv", "lists": {"all": str(tmp_path / "list.csv")}}})
    assert recipe.data(cfg) == Finding("ok", "csv 1: 4 clips, 2 classes, all there; 4 decoded")
    (tmp_path / "d.mp4").unlink()
    found = recipe.data(cfg)
    assert (found.state, f"{tmp_path}/d.mp4" in found.found) == ("fail", True), "a missing video is a problem"
    (tmp_path / "d.mp4").write_bytes(b"no video")
    assert recipe.data(cfg).state == "fail"
    assert recipe.data(load("smoke")) == Finding("ok", "rendered by the run")


@pytest.mark.parametrize(
    ("more", "state", "words"),
    [
        ({}, "ok", "action_encoder.variant=tiny action_encoder.weights=run:"),
        ({"encoder.backbone.more": torch.zeros(1)}, "fail", "more is surplus"),
        (None, "fail", "not the tensors of tiny"),
        (b"", "fail", "cut é.safetensors"),
    ],
)
def test_weights_fit_the_variant_or_the_line_says_how_to_look(tmp_path, more, state, words):
    file = tmp_path / "cut é.safetensors"
    network = build_action_encoder(load("smoke").action_encoder, 3)
    own = {f"encoder.{name}": value for name, value in network.state_dict().items()}
    save_weights(file, {"other": torch.zeros(1)} if more is None else own | dict(more))
    if more == b"":
        file.write_bytes(file.read_bytes()[:-8])
    check = partial(recipe.weights, load("smoke", [f"action_encoder.weights=run:{file}"]), "action_encoder")
    (result,) = run_checks([("f_E weights", check)])
    assert (result.finding.state, words in result.finding.found) == (state, True), result
