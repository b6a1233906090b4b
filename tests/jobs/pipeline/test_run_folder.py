"""Who may work in a run folder, and that config.yaml says what ran: a command that is refused changes nothing."""

import errno
import json
import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from finepseudo.run_folder.files import write_json
from jobs.cli.main import main
from jobs.cli.write_part import write_part
from jobs.config.recipes import load, to_yaml
from jobs.pipeline.plan import COMMANDS, make_plan
from jobs.pipeline.run_folder import changed_keys, locked, mend_config, opened_lock, works_in, write_config
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter

SMALL = ["data.synthetic.train_per_class=3", "data.synthetic.test_per_class=1", "resources.write_tasks=0"]


@pytest.fixture
def command(tmp_path, capsys):
    def run(*argv):
        code = main([*argv, f"out={tmp_path}", *SMALL])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@pytest.fixture
def begun(tmp_path):
    """A run whose data stage has begun, with the configuration it began with."""
    cfg = load("smoke", [f"out={tmp_path}", *SMALL])
    run = Run(cfg, Reporter(cfg.folder, tensorboard=False))
    plan = make_plan(run)
    object.__setattr__(plan[0][0], "run", lambda: 1 / 0)  # killed in the middle
    with pytest.raises(ZeroDivisionError):
        run_plan(run, plan, "code", COMMANDS["write-shards"], write=True)
    return cfg.folder


def test_a_folder_in_which_nothing_began_is_removed(tmp_path):
    with locked(tmp_path / "new"):
        assert (tmp_path / "new" / ".lock").exists()
    assert not (tmp_path / "new").exists()
    with locked(tmp_path / "used"):
        (tmp_path / "used" / "config.yaml").touch()
    with locked(tmp_path / "used"):
        pass
    assert (tmp_path / "used" / ".lock").exists()


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_what_ran_is_written_when_a_stage_begins_and_not_before(command, begun):
    text = (begun / "config.yaml").read_text()
    assert "write_tasks: 0" in text
    before = contents(begun)
    code, said = command("split")
    assert code == 2
    assert "needs" in said
    assert command("report", "evaluate.views=3")[0] == 2
    assert contents(begun) == before


def test_a_command_in_a_run_reads_what_the_run_was_made_with(command, begun):
    """No recipe is needed; another machine is welcome, another result is not, and config.yaml stays as it is."""
    recipe = begun.parent / "mine.yaml"
    recipe.write_text("base: smoke\nname: smoke\nrounds: 3\n")
    before = contents(begun)
    assert "needs" in command("split", "resources.workers=2")[1]
    for line in (("evaluate", "evaluate.views=3"), ("train", "rounds=3"), ("report", "--recipe", str(recipe))):
        code, said = command(*line)
        assert code == 2
        assert "`finepseudo run` takes a changed key" in said
    assert contents(begun) == before


def test_a_command_in_a_run_judges_keys_by_that_run_and_not_by_the_default_recipe(command, begun):
    config = begun / "config.yaml"
    config.write_text(config.read_text().replace("batch_size: 8", "batch_size: 6"))
    assert "needs" in command("split", "resources.workers=3")[1]
    assert "batch_size = 6: must be a multiple of resources.workers, 4" in command("split", "resources.workers=4")[1]
    assert "is called methods now; write methods=[finepseudo]" in command("split", "strategies=[collaborative]")[1]


def test_a_folder_that_an_older_version_made_says_so(command, begun):
    path = begun / "config.yaml"
    path.write_text(path.read_text().replace("methods:", "strategies:"))
    for name in ("report", "run"):
        code, said = command(name)
        assert code == 2
        assert "cannot be read by this version (strategies: is called methods now" in said
        assert "use another --name, or `finepseudo run --force` to start this one over" in said
    code, said = command("write-shards", "--force", "--part", "0/1")
    assert code == 0, said
    assert "methods:" in path.read_text()
    (forced,) = json.loads((begun / "forced.json").read_text())
    assert forced == {"key": "data", "was": "of a config.yaml that this version cannot read", "is": "synthetic_diving"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("split.ratio=0.9", "smoke was made with split.ratio=0.4, now it is 0.9; "),
        ("data.synthetic.seed=5", "made with data.synthetic.seed=0, now it is 5"),
        ("shards.short_side=96", "made with shards.short_side=128, now it is 96"),
        ("data.synthetic.class_set=['F:S25t','F:SpT1']", "now it is [F:S25t, F:SpT1]; "),
    ],
)
@pytest.mark.parametrize("name", ["run", "split", "report", "write-shards"])
def test_a_run_folder_belongs_to_one_data_set_its_shards_and_split(command, begun, name, override, message):
    before = contents(begun)
    code, said = command(name, override)
    assert code == 2
    assert message in said
    assert ("--force" in said) == (name in ("run", "write-shards")), "only these may start a folder over"
    assert contents(begun) == before


def test_another_command_at_work_is_not_disturbed(command, begun):
    before = contents(begun)
    with locked(begun):
        code, said = command("split")
        assert (code, "another command works in it" in said) == (2, True)
        assert contents(begun) == before


def test_a_wrong_path_at_the_first_try_does_not_take_the_name(command, tmp_path):
    (tmp_path / "videos.csv").write_text("a.mp4,0\n")
    first, second = (
        command("write-shards", "--data", f"csv:{tmp_path}/{name}.csv", "--name", "mine", "--part", "0/1")
        for name in ("vidoes", "videos")
    )
    assert (first[0], "vidoes.csv does not exist" in first[1]) == (2, True)
    assert second[0] == 0, second[1]
    assert "videos.csv" in (tmp_path / "mine" / "config.yaml").read_text()


HERE = ["reading.cache.folder=/local", "reading.cache.gigabytes=9", "reading.max_bad_fraction=0.5"]
"""Keys that change no result."""


def test_what_changed_since_its_stages_ran_is_known_but_for_resources(tmp_path, begun):
    before = load("smoke", [f"out={tmp_path}", *SMALL])
    assert changed_keys(before) == []
    now = load("smoke", [f"out={tmp_path}", *SMALL, "frame_stage.loss.gamma=0.05", "resources.workers=2", *HERE])
    assert changed_keys(now) == [("frame_stage.loss.gamma", before.frame_stage.loss.gamma, 0.05)]


@pytest.mark.parametrize("line", [["report"], ["split"], ["train"], ["evaluate"], ["write-shards", "--repair"]])
def test_a_mistyped_name_leaves_no_folder(tmp_path, capsys, line):
    assert main([*line, "--name", "typo", f"out={tmp_path}/runs"]) == 2
    assert f"{line[0]}: {tmp_path}/runs/typo: no such run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_refused_leaves_no_folder_above_it_either(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a" / "b"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    with locked(tmp_path / "a" / "b"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a"], "it was there before"


def test_what_is_forced_is_recorded_when_it_runs(tmp_path, begun):
    from jobs.pipeline.run_folder import record_forced, refuse_other_data

    for ratio in (0.9, 0.8):
        cfg = load("smoke", [f"out={tmp_path}", *SMALL, f"split.ratio={ratio}"])
        record_forced(cfg, refuse_other_data(cfg, force=True))
    forced = json.loads((begun / "forced.json").read_text())
    assert forced == [{"key": "split.ratio", "was": 0.4, "is": ratio} for ratio in (0.9, 0.8)]


def test_two_commands_do_not_work_in_one_folder(tmp_path):
    with locked(tmp_path):
        code = (
            "import sys, pathlib; from jobs.pipeline.run_folder import locked\n"
            "with locked(pathlib.Path(sys.argv[1])): pass"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "another command works in it" in done.stderr
    with locked(tmp_path):
        pass


def test_a_part_leaves_the_data_of_a_running_command_alone(command, begun):
    before = contents(begun)
    with locked(begun):
        code, said = command("write-shards", "--part", "0/2", "shards.short_side=96")
    assert (code, "another command works in it" in said) == (2, True)
    assert contents(begun).items() >= before.items()


def test_parts_work_side_by_side_but_not_with_another_configuration_nor_with_a_run(command, begun):
    with opened_lock(begun) as other_part:
        assert other_part.take(shared=True)
        before = contents(begun)
        code, said = command("write-shards", "--part", "0/99", "shards.short_side=96", "--force")
        assert (code, "parts of another configuration are being written" in said) == (2, True)
        assert contents(begun).items() >= before.items()
        assert command("write-shards", "--part", "98/99")[0] == 0
        code, said = command("split")
        assert (code, "another command works in it" in said) == (2, True)


@pytest.mark.parametrize("wait", [True, False])
def test_who_comes_as_the_maker_of_an_empty_folder_leaves_works_there_alone(tmp_path, wait):
    """The maker removes the folder and the file that the other one has opened; a third must not come in."""
    folder = tmp_path / "made" / "run"
    with ExitStack() as others:
        with opened_lock(folder) as maker:
            assert maker.take()
            late = others.enter_context(opened_lock(folder))
            assert not late.take()
        assert not folder.exists()
        assert late.take(wait=wait)
        (folder / "config.yaml").touch()
        third = others.enter_context(opened_lock(folder))
        assert not third.take()
        assert works_in(folder)
    assert not works_in(folder)
    assert (folder / "config.yaml").exists()


def test_a_folder_that_went_away_meanwhile_ends_nothing_and_is_not_made_again(tmp_path):
    folder = tmp_path / "a" / "run"
    with opened_lock(folder):
        (folder / ".lock").unlink()
        folder.rmdir()  # as the other one does who made it at the same moment
        assert not works_in(folder)
    assert not folder.exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_it_goes_on_with_a_warning(number, tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with locked(tmp_path):
        said = capsys.readouterr().err
    assert said.startswith(f"warning: {tmp_path}: its file system has no locks")
    assert said.count("\n") == 1


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\0\0\0\0", b"- 1", b"name: [", b"name: 2020-13-45"])
def test_a_damaged_config_is_one_line_for_every_command(command, begun, content):
    (begun / "config.yaml").write_bytes(content)
    for name in ("run", "split", "report"):
        code, said = command(name)
        assert code == 2
        assert f"{begun / 'config.yaml'}: cannot be read by this version" in said
        assert len([line for line in said.splitlines() if "data: starts (stage 1 of 1)" not in line]) == 1


def test_a_config_of_a_folder_where_nothing_has_begun_is_written_over(tmp_path):
    cfg = load("smoke", [f"out={tmp_path}", *SMALL])
    cfg.folder.mkdir()
    (cfg.folder / "config.yaml").write_bytes(b"\xff")
    write_config(cfg)
    assert (cfg.folder / "config.yaml").read_text() == to_yaml(cfg)


def test_a_damaged_config_is_written_again_though_nothing_has_to_run(tmp_path):
    cfg = load("smoke", [f"out={tmp_path}", *SMALL])
    write_json(cfg.folder / "data" / "DONE.json", {"outputs": {}})
    other = to_yaml(load("smoke", [f"out={tmp_path}", *SMALL, "rounds=1"]))
    for found, healed in ((b"\0" * 40, to_yaml(cfg)), (other.encode(), other)):
        (cfg.folder / "config.yaml").write_bytes(found)
        mend_config(cfg)
        assert (cfg.folder / "config.yaml").read_text() == healed


def test_a_folder_in_place_of_the_lock_is_named(tmp_path, capsys):
    (tmp_path / "smoke" / ".lock").mkdir(parents=True)
    assert main(["split", f"out={tmp_path}", *SMALL]) == 2
    assert "smoke/.lock: it is a folder; move it away" in capsys.readouterr().err


@pytest.mark.parametrize("lock", [True, False])
def test_a_finished_run_in_a_folder_that_may_only_be_read_is_looked_at(small_disk, capsys, lock):
    folder, resize = small_disk
    resize(16 << 20)
    line = ["write-shards", f"out={folder}", *SMALL]
    cfg = load("smoke", line[1:])
    assert write_part(cfg, "0/1") == 0
    run = Run(cfg, Reporter(cfg.folder, tensorboard=False))
    run_plan(run, make_plan(run), "code", COMMANDS["write-shards"], write=True)
    if not lock:
        (cfg.folder / ".lock").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    assert main(line) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["split", f"out={folder}", *SMALL]) == 2
    assert "the file system is read-only; choose another folder" in capsys.readouterr().err
