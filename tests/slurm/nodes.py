"""Program of a test job: say on which nodes tasks run, then end with the given code."""

import os
import socket
import sys
import time
from pathlib import Path

import ray

ray.init(logging_level="ERROR")


@ray.remote(num_cpus=2, scheduling_strategy="SPREAD")
def where() -> str:
    time.sleep(0.5)
    return socket.gethostname()


print("tasks on", *sorted(set(ray.get([where.remote() for _ in range(2)]))))
print("resources", {name: ray.cluster_resources().get(name, 0) for name in ("CPU", "GPU")})
print(
    "authentication", os.environ["RAY_AUTH_MODE"], oct(Path(os.environ["RAY_AUTH_TOKEN_PATH"]).stat().st_mode & 0o777)
)
sys.exit(int(sys.argv[1]))
