"""What the workers of a cluster that somebody else started learn from the program that attaches to it."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from jobs.cluster import ray_node
from jobs.cluster.allocation import Allocation
from jobs.cluster.ports import reserve

REPOSITORY = Path(__file__).parents[3]
ASK = """
import json, os
from jobs.cluster.session import ray_session
with ray_session():
    import ray
    task = ray.remote(lambda: {n: v for n, v in os.environ.items() if n.startswith(("AWS_", "FSSPEC_"))})
    print(json.dumps(ray.get(task.remote())))
"""
ADDRESS = "http://127.0.0.1:9"
OURS = {"AWS_ENDPOINT_URL_S3": ADDRESS, "AWS_DEFAULT_REGION": "eu-west-1", "FSSPEC_S3_ENDPOINT_URL": ADDRESS}


@pytest.mark.slow
@pytest.mark.ray
def test_workers_learn_where_a_store_is_but_no_secret_of_ours(tmp_path):
    told = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FSSPEC_"))}
    told["PYTHONPATH"] = str(REPOSITORY)
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_urlsafe(24))
    node = Allocation(
        job="1", step="0", attempt="0", rank=0, node="here", nodes=("here",), cpus=1, gpus=0, memory_bytes=None
    )
    port = reserve(os.getpid()).head
    with tempfile.TemporaryDirectory(prefix="fp-", dir="/tmp") as short, (tmp_path / "log").open("wb") as log:
        options = ["--head", f"--port={port}", "--include-dashboard=false"]
        command = ray_node.start_command(node, "127.0.0.1", Path(short), 100_000_000, options)
        environment = {**told, **ray_node.environment(token, None), "AWS_SECRET_ACCESS_KEY": "the node's own"}
        environment = {n: v for n, v in environment.items() if n in told or n.startswith(("RAY_", "AWS_SECRET"))}
        ray = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + 60
            while not ray_node.answers("127.0.0.1", port):
                assert time.monotonic() < end, (tmp_path / "log").read_text()
                time.sleep(0.2)
            driver = {**environment, **OURS, "AWS_SECRET_ACCESS_KEY": "ours", "RAY_ADDRESS": f"127.0.0.1:{port}"}
            asked = subprocess.run(
                [sys.executable, "-c", ASK], env=driver, capture_output=True, text=True, timeout=120, check=False
            )
        finally:
            ray_node.end(ray, ray_node.RAY_GRACE_S)
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout.splitlines()[-1])
    assert found == {**OURS, "AWS_SECRET_ACCESS_KEY": "the node's own"}
