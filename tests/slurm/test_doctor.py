"""The doctor inside an allocation of two nodes of a real Slurm."""

import json
import sys

import pytest

from tests.slurm.lab import REPOSITORY

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_two_nodes_sum_a_tensor_and_see_each_others_files(lab, tmp_path):
    script = tmp_path / "doctor.sh"
    line = f"{sys.executable} -m jobs doctor --json out={tmp_path} >{tmp_path}/found.json"
    script.write_text(f"#!/bin/bash\nexec {line}\n")
    options = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2"]
    job = lab.submit(script, options=options, cwd=tmp_path, PYTHONPATH=str(REPOSITORY))
    _, _, output = lab.finish(job, tmp_path)
    found = {one["check"]: one for one in json.loads((tmp_path / "found.json").read_text())}
    assert found["nodes"]["state"] == "ok", (found["nodes"], output)
    assert "gloo over 2 nodes" in found["nodes"]["found"]
    assert found["new files"]["state"] == "ok", found["new files"]
    assert found["Slurm"]["state"] == "ok", found["Slurm"]
    assert found["Ray"]["state"] in ("ok", "warn"), found["Ray"]
    assert not list(tmp_path.glob(".finepseudo-doctor-*"))
    lab.assert_clean(job)
