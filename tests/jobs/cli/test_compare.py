"""`finepseudo compare`: what it takes and refuses, the table of a finished run, and two seeds of real methods."""

import csv

import pytest
import yaml

from jobs.cli.main import main
from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from tests.small_run import METHODS, write_small_run


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_small_run(tmp_path_factory.mktemp("runs") / "small")


def test_a_finished_run_is_compared_without_running_anything(small, capsys):
    before = set(small.rglob("*"))
    assert main(["compare", str(small)]) == 0
    made = set(small.rglob("*")) - before
    assert {path.name for path in made} == {"compare.csv", "compare.md", "compare.tex", "compare.html"}
    said = capsys.readouterr().out
    assert (small / "compare.md").read_text() in said
    with (small / "compare.csv").open() as stream:
        assert [row["method"] for row in csv.DictReader(stream)] == list(METHODS)


def test_several_runs_are_written_where_out_says(small, tmp_path, capsys):
    other = write_small_run(tmp_path / "other")
    assert main(["compare", str(small), str(other), "--out", str(tmp_path / "both")]) == 0
    assert "Supervised only (small)" in capsys.readouterr().out
    assert (tmp_path / "both.tex").is_file()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--methods", "sefar"], "compared as they are, and --methods is given too"),
        (["rounds=2"], "compared as they are, and rounds=2 is given too"),
        (["{}/none"], "none: no such run; "),
        (["--shared"], "compared as they are, and --shared is given too"),
    ],
)
def test_what_does_not_go_with_run_folders_is_refused(small, tmp_path, more, message, capsys):
    line = ["compare", str(small), *(text.format(tmp_path) for text in more), "--out", str(tmp_path / "x")]
    assert main(line) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_has_tested_nothing_yet_is_one_line(tmp_path, capsys):
    (tmp_path / "half" / "seed-0" / "sefar").mkdir(parents=True)
    (tmp_path / "half" / "config.yaml").write_text("name: half\n")
    assert main(["compare", str(tmp_path / "half"), "--out", str(tmp_path / "x")]) == 2
    said = capsys.readouterr().err
    assert "half: no method of it is tested yet" in said and said.count("\n") == 1
    assert not list(tmp_path.glob("x.*"))


def test_methods_and_seeds_go_over_the_recipe(capsys):
    line = ["compare", "--recipe", "smoke", "--methods", "supervised, uda", "--seeds", "3,4", "--print-config"]
    assert main(line) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert (values["methods"], values["seeds"]) == (["supervised", "uda"], [3, 4])


def test_a_method_or_seed_that_is_none_is_one_line(tmp_path, capsys):
    assert main(["compare", "--methods", "supervised,sefr", f"out={tmp_path}"]) == 2
    assert "no method is called sefr; did you mean sefar? there are supervised, " in capsys.readouterr().err
    refused = [("--seeds", "0,x", "write whole numbers with commas"), ("--seeds", "", "write one or more")]
    for option, value, said in [*refused, ("--methods", ",", "write one or more")]:
        with pytest.raises(SystemExit) as ended:
            main(["compare", option, value])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


def test_the_plan_shares_data_split_and_round_zero_of_a_seed(tmp_path):
    """No stage stands twice in it, and what is no method's own is made once a seed."""
    names = ["supervised", "uda", "finepseudo"]
    cfg = load("smoke", [f"out={tmp_path}"], {"methods": names, "seeds": [0, 1]})
    stages = [s for group in make_plan(Run(cfg, Reporter(cfg.folder, tensorboard=False))) for s in group]
    folders = [(stage.kind, stage.folder) for stage in stages]
    assert len(set(folders)) == len(folders)
    shared = [s.name for s in stages if getattr(s, "method", None) is None]
    assert sum(name == "seed-1/round-00/action_encoder" for name in shared) == 1
    assert {s.method.name for s in stages if getattr(s, "method", None)} == set(names)


@pytest.mark.ray
@pytest.mark.slow
def test_methods_are_run_on_two_seeds_and_end_in_a_table(ray_cluster, tmp_path, capsys):
    line = ["compare", "--recipe", "smoke", "--methods", "supervised,fixmatch,sefar", "--seeds", "0,1"]
    small = ["data.synthetic.train_per_class=6", "data.synthetic.test_per_class=2", "action_stage.train.steps=6"]
    line += [f"out={tmp_path}", "--name", "small", *small, "evaluate.views=1"]
    assert main(line) == 0
    run = tmp_path / "small"
    with (run / "compare.csv").open() as stream:
        rows = {row["method"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["supervised", "fixmatch", "sefar"]
    assert {row["seeds"] for row in rows.values()} == {"0 1"}
    assert {row["steps_mean"] for row in rows.values()} == {"12.0"}, "6 of round 0 and 6 of round 1"
    # 8 labelled clips a step, and beside them the whole pool: 12 clips, fewer than the batch of 40 or 24 has places for
    clips = {name: float(row["clips_mean"]) for name, row in rows.items()}
    assert clips == {"supervised": 12 * 8, "fixmatch": 12 * 8 + 6 * 12, "sefar": 12 * 8 + 6 * 12}
    assert all(float(row["hours_mean"]) > 0 and row["device"] == "CPU" for row in rows.values())
    assert 'id="took"' in (run / "report.html").read_text()
    done = {path: path.stat().st_mtime_ns for path in run.rglob("DONE.json")}
    capsys.readouterr()
    assert main(line) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.rglob("DONE.json")} == done
