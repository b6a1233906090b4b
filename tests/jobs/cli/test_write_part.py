"""Shards written in parts, without Ray, are the shards of one writer."""

import json

import pytest

from jobs.cli.main import main
from jobs.cli.write_part import parse_part, write_part
from jobs.cluster import preempt
from jobs.config.recipes import load
from jobs.pipeline.plan import COMMANDS, make_plan
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from shards.errors import UserError

SMALL = ["data.synthetic.train_per_class=3", "data.synthetic.test_per_class=1", "shards.clips_per_shard=4"]


def config(out, name):
    return load("smoke", [f"out={out}", "resources.write_tasks=0", *SMALL], {"name": name})


def shard_bytes(run):
    return {path.name: path.read_bytes() for path in sorted((run / "data" / "shards").glob("*.tar"))}


def finish(cfg):
    """What `write-shards` does, without its Ray."""
    run = Run(cfg, Reporter(cfg.folder, tensorboard=False))
    assert run_plan(run, make_plan(run), "test", COMMANDS["write-shards"], write=True) == 1


@pytest.mark.parametrize(("text", "part"), [("0/1", (0, 1)), ("3/16", (3, 16))])
def test_a_part_is_read(text, part):
    assert parse_part(text) == part


@pytest.mark.parametrize("text", ["1/1", "a/b", "-1/2", "1", "1/0"])
def test_a_wrong_part_is_refused(text):
    with pytest.raises(UserError, match="write i/n"):
        parse_part(text)


@pytest.mark.slow
def test_two_parts_and_the_manifest_are_what_one_writer_leaves(tmp_path):
    for part in ("1/2", "0/2"):
        assert write_part(config(tmp_path, "parts"), part) == 0
    written = shard_bytes(tmp_path / "parts")
    assert len(written) == 4
    for name in ("parts", "whole"):
        finish(config(tmp_path, name))
    assert shard_bytes(tmp_path / "parts") == written == shard_bytes(tmp_path / "whole")
    one, other = ((tmp_path / name / "data" / "DONE.json").read_text() for name in ("parts", "whole"))
    for name in ("shards/manifest.json", "shards/manifest.parquet", "quarantine.parquet"):
        assert json.loads(one)["outputs"][name] == json.loads(other)["outputs"][name]
    assert write_part(config(tmp_path, "parts"), "0/2") == 0  # done: nothing is begun again
    assert (tmp_path / "parts" / "data" / "DONE.json").read_text() == one
    assert not preempt.requested(tmp_path / "parts")


@pytest.mark.ray
@pytest.mark.slow
def test_a_damaged_shard_is_found_and_written_again_and_nothing_else_is(ray_cluster, tmp_path, capsys):
    line = ["write-shards", f"out={tmp_path}", "resources.write_tasks=0", *SMALL, "--name", "r"]
    assert main(line) == 0
    record, before = (tmp_path / "r" / "data" / "DONE.json"), shard_bytes(tmp_path / "r")
    assert main([*line, "--verify"]) == 0
    tar = tmp_path / "r" / "data" / "shards" / "shard-000001.tar"
    data = bytearray(tar.read_bytes())
    data[5000] ^= 1
    tar.write_bytes(data)
    outputs = json.loads(record.read_text())["outputs"]
    assert main([*line, "--verify"]) == 2
    said = capsys.readouterr().out
    assert "damaged: shard-000001.tar: its bytes are not the ones that were written" in said
    assert "shards: 3 of 4 are as they were written" in said
    assert main([*line, "--repair"]) == 0
    assert capsys.readouterr().out.count("(there already)") == 3
    assert shard_bytes(tmp_path / "r") == before
    assert json.loads(record.read_text())["outputs"] == outputs
    assert main([*line, "--verify"]) == 0
    (tmp_path / "r" / "data" / "shards" / "manifest.json").write_text("{")
    assert main([*line, "--verify"]) == 2
    assert main(line) == 0
    assert main([*line, "--verify"]) == 0
