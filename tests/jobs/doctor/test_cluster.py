"""What is said of a Slurm that answers, that refuses, and that is not there."""

import pytest

from jobs.doctor import cluster


@pytest.mark.parametrize(
    ("sinfo", "state", "words"),
    [
        (None, "skip", "no Slurm here"),
        ("exit 1", "warn", "no controller answers (sinfo ends with code 1 and says nothing)"),
        ("printf 'slurm_load_partitions: down\\nmore\\n' >&2; exit 1", "warn", "(slurm_load_partitions: down)"),
        ("echo 'gpu* 4 (null) 1-00:00:00 down'", "fail", "no partition is up"),
        ("echo 'gpu* 4 gpu:8 1-00:00:00 up'", "ok", "22.05.8: gpu* 4 nodes (gpu:8, 1-00:00:00)"),
    ],
)
def test_slurm_says_how_it_is(tmp_path, monkeypatch, sinfo, state, words):
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(cluster.shutil, "which", lambda name: sinfo and f"{tmp_path}/{name}")
    for name, body in (("sinfo", sinfo or ""), ("scontrol", "echo 'SLURM_VERSION = 22.05.8'")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    found = cluster.slurm()
    assert found.state == state
    assert words in found.found
