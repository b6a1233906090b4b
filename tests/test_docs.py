"""Every command of README and guides is run here, in its cheapest true form, and every link leads somewhere."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli.main import main
from jobs.cli.parser import parser
from jobs.config.recipes import load
from tests.shards.make_clips import need_data, write_numbered
from tests.small_run import write_small_run

REPOSITORY = Path(__file__).parents[1]
GUIDES = ("README.md", *(f"docs/{name}.md" for name in ("results", "cluster", "compare")))
"""What tells people what to type: the README and the pages that it leads to."""
README = "\n".join((REPOSITORY / page).read_text() for page in GUIDES)
PAGES = (*GUIDES, "CHANGELOG.md", *(f"docs/{name}.md" for name in ("own-data", "python", "files", "extend")))
BLOCKS = re.findall(r"```bash\n(.*?)```", README, flags=re.S)
COMMANDS = list(dict.fromkeys(line for block in BLOCKS for line in block.splitlines() if line and line[0] != "#"))


OTHERWISE = r" (bench|check|methods|clean|plan|predict|export|review|keys|schema|reproduce|compare runs)\b| dives"
"""Commands that are run by tests of their own."""


def commands(program):
    return [line for line in COMMANDS if shlex.split(line)[0] == program]


def run(*arguments, cwd=REPOSITORY):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=300, cwd=cwd, env=environment)


def finepseudo(line, cwd, *more):
    return run(sys.executable, "-m", "jobs", *shlex.split(line)[1:], *more, cwd=cwd)


def test_every_command_is_covered():
    known = {"make", ".", "finepseudo", "sbatch", "bash", "tensorboard"}
    assert {shlex.split(line)[0] for line in COMMANDS} == known


@pytest.mark.parametrize("line", commands("make"))
def test_make_target_exists(line):
    done = run("make", "--dry-run", *shlex.split(line)[1:])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", commands("."))
def test_the_environment_that_is_activated_is_the_one_that_make_builds(line):
    built = run("make", "--dry-run", "--always-make", "env").stdout
    assert f"-m venv {Path(shlex.split(line)[1]).parents[1]}\n" in built


@pytest.mark.parametrize("line", commands("tensorboard"))
def test_tensorboard_is_shown_the_folder_that_a_run_writes(line):
    program, option, folder = shlex.split(line)
    assert Path(sys.executable).with_name(program).exists()
    assert (option, Path(folder).name) == ("--logdir", "tensorboard")


@pytest.fixture
def desk(tmp_path):
    """A folder with the list and the scripts that the README's commands name."""
    rows = []
    for label in ("tuck", "pike"):
        for index in range(6):
            path = tmp_path / f"{label}{index}.mp4"
            write_numbered(path, 20)
            rows.append(f"{path.name},{label},{'test' if index < 2 else 'train'}")
    (tmp_path / "videos.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "tune_spaces").symlink_to(REPOSITORY / "tune_spaces")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in commands("finepseudo") if not re.search(OTHERWISE, line)])
def test_run_and_tune_plan_what_the_readme_says(line, desk):
    """Those for a folder `dives` stand in docs/own-data.md too; tests/test_own_data.py runs them."""
    done = finepseudo(line, desk, "--dry-run")
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.slow
def test_predictions_exports_and_review_run_as_the_readme_says(tmp_path, monkeypatch):
    """In order, in a folder with a small finished run."""
    monkeypatch.chdir(tmp_path)
    write_small_run(tmp_path / "runs" / "demo")
    write_numbered(tmp_path / "dive.mp4", 20)
    (tmp_path / "more.csv").write_text("dive.mp4\n")
    (tmp_path / "clips").mkdir()
    write_numbered(tmp_path / "clips" / "a b.mp4", 20)
    lines = [line for line in commands("finepseudo") if re.match("finepseudo (predict|export|review)", line)]
    assert len(lines) == 5
    assert [main(shlex.split(line)[1:]) for line in lines] == [0] * len(lines)
    assert (tmp_path / "runs/demo/export/load.py").is_file()
    assert (tmp_path / "features.safetensors").is_file()
    assert (tmp_path / "predicted.csv").read_text().count("\n") == 3
    assert (tmp_path / "runs/demo/review.html").is_file()


@pytest.mark.parametrize("line", [line for line in commands("finepseudo") if re.search(r" (keys|schema)\b", line)])
def test_keys_and_schema_print_what_is_declared(line, tmp_path):
    done = finepseudo(line, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "margin m of the triplet loss" in done.stdout


@pytest.mark.parametrize("line", [line for line in commands("finepseudo") if " plan " in line])
def test_plans_are_printed(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line)[1:]) == 0
    assert "nodes       " in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", [line for line in commands("finepseudo") if " compare runs" in line])
def test_finished_runs_are_compared(line, tmp_path):
    for folder in re.findall(r"runs/\S+", line):
        write_small_run(tmp_path / folder)
    done = finepseudo(line, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "both.csv").is_file()


@pytest.mark.parametrize("line", [line for line in commands("finepseudo") if " reproduce" in line])
def test_tables_say_what_they_need(line, tmp_path, monkeypatch, capsys):
    """Only what is rendered lacks nothing."""
    monkeypatch.chdir(tmp_path)
    arguments = [*shlex.split(line)[1:], "--dry-run"]
    assert main(arguments) == (2 if any("weights=" in word for word in arguments) else 0)
    assert "table06" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in commands("finepseudo") if " check diving48" in line])
def test_check_lists_what_is_missing(line, tmp_path):
    root = need_data("diving48")
    done = finepseudo(line.replace("/data/diving48", str(root)), tmp_path)
    assert "16,997 clips" in done.stdout, done.stderr
    assert "missing" in done.stdout
    assert done.returncode == 2, "no video is there, and the exit code must say so"


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in commands("finepseudo") if " bench " in line])
def test_benchmarks_explain_themselves(line, tmp_path):
    assert finepseudo(line, tmp_path, "--help").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("line", commands("bash"))
def test_dry_run_of_a_batch_script_needs_no_slurm(line):
    done = run(*shlex.split(line))
    problems = [text for text in done.stdout.splitlines() if text.startswith("PROBLEM")]
    assert done.returncode == 2 and len(problems) == 2, done.stderr
    assert all("_encoder.weights: variant" in text for text in problems), "the published weights are the user's to give"
    assert "#SBATCH" in done.stdout


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", README, flags=re.S))
def test_recipe_lines_are_keys_that_exist(block, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"base: smoke\n{block}")
    cfg = load(str(tmp_path / "mine.yaml"), ["pretrain.order.shard_window=32"])
    assert cfg.shards.store
    assert cfg.reading.cache.gigabytes == 200


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", (REPOSITORY / page).read_text()):
        assert target.startswith("http") or (REPOSITORY / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_that_are_named_in_passing_exist_with_their_options(page):
    (commands,) = (action.choices for action in parser()._actions if action.dest == "command")
    for line in re.findall(r"`finepseudo ([a-z][^`]*)`", " ".join((REPOSITORY / page).read_text().split())):
        command, *rest = line.split()
        options = commands[command]._option_string_actions
        assert [word for word in rest if word.startswith("--") and word not in options] == [], line
