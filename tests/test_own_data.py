"""The commands of docs/own-data.md, run in order on small videos."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shards.make_clips import write_numbered

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "own-data.md").read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.S) for line in block.splitlines()]
SHORT = [
    *(f"{stage}.train.steps=2" for stage in ("pretrain", "frame_stage", "action_stage")),
    *(f"{stage}.self_train.steps=2" for stage in ("frame_stage", "action_stage")),
    *(f"{key}.batch_size=4" for key in ("pretrain.order", "frame_stage.order", "action_stage.order")),
    "action_stage.self_order.batch_size=4",
    "methods=[finepseudo]",
    "rounds=1",
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    for name in ("tuck", "pike", "unlabelled"):
        (folder / "dives" / name).mkdir(parents=True)
        for number in range(5):
            write_numbered(folder / "dives" / name / f"{name}{number}.mp4", 20 + number)
    (folder / "clips").mkdir()
    for number in range(6):
        write_numbered(folder / "clips" / f"{number}.mp4", 20)
    rows = "".join(f"{number}.mp4;{'tuck' if number % 2 else 'pike'}\n" for number in range(6))
    (folder / "clips" / "labels.csv").write_text(f"video_name;tag\n{rows}")
    return folder


def finepseudo(line, desk, *more):
    program, *arguments = shlex.split(line)
    assert program == "finepseudo"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "jobs", *arguments, *more]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600, cwd=desk, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_page_from_a_folder_to_a_report(desk):
    assert len(COMMANDS) == 6
    for line in COMMANDS:
        short = SHORT if line.startswith("finepseudo run") else ()
        finepseudo(line, desk, *short)
    assert (desk / "mine.csv").read_text().startswith("path,class,role,source\nclips/")
    report = (desk / "runs" / "dives" / "report.html").read_text()
    assert "nobody can say how many of the labels are right" in report


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert target.startswith("http") or (REPOSITORY / "docs" / target).exists(), target
