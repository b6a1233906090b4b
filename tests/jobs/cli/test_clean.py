"""`finepseudo clean`: it lists first, removes with --yes, and leaves what a resume needs."""

import os
import shutil

import pytest

from jobs.cli.main import main
from jobs.cluster import temp_folder
from jobs.pipeline.plan import unfinished
from jobs.pipeline.run_folder import locked
from tests.jobs.pipeline.faked import make, run  # noqa: F401 - `make` is a fixture

RUN = ["rounds=2", "seeds=[0]"]


@pytest.fixture(autouse=True)
def node(tmp_path, monkeypatch):
    """The folder of the node where Ray's temporary folders are."""
    (tmp_path / "node").mkdir()
    monkeypatch.setattr(temp_folder, "PLACE", tmp_path / "node")
    return tmp_path / "node"


@pytest.fixture
def folder(make, monkeypatch, node):  # noqa: F811
    run(make, monkeypatch, *RUN)
    monkeypatch.undo()
    monkeypatch.setattr(temp_folder, "PLACE", node)
    root = make(*RUN)[0].paths.root
    (root / "pretrain" / "checkpoints").mkdir()
    (root / "pretrain" / "checkpoints" / "step-4.pt").write_bytes(bytes(3000))
    (root / "data" / ".clips.parquet.1-abc.tmp").write_bytes(bytes(10))
    (root / "data" / "shards" / "shard-000000.tar.damaged").write_bytes(bytes(20))
    (node / "fpray-1.0").mkdir()
    return root


def files(folder):
    return {path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_it_lists_with_bytes_and_removes_nothing_until_told(folder, node, capsys):
    before = files(folder)
    assert main(["clean", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "3 kB  pretrain: checkpoints of a stage that is done" in said
    assert "seed-0/round-00/embeddings: 1 files of an old round" in said
    assert "data/.clips.parquet.1-abc.tmp" in said
    assert "10 B" in said
    assert "20 B" in said
    assert "fpray-1.0, of a Ray that was killed" in said
    assert "can go; --yes removes it" in said
    assert files(folder) == before
    assert (node / "fpray-1.0").exists()


def test_afterwards_a_run_does_nothing_and_there_is_nothing_left(folder, node, make, capsys):  # noqa: F811
    assert main(["clean", folder.name, f"out={folder.parent}", "--yes"]) == 0
    assert not list(folder.rglob("*.tmp")) + list(folder.rglob("*.damaged")) + list(folder.rglob("checkpoints"))
    assert not (node / "fpray-1.0").exists()
    assert (folder / "data" / "shards").is_dir()
    assert unfinished(make(*RUN)[1]) == []
    capsys.readouterr()
    assert main(["clean", str(folder), "--yes"]) == 0
    assert main(["clean", str(folder)]) == 0
    assert "nothing can go" in capsys.readouterr().out


def test_rounds_that_are_to_stay_stay(folder):
    assert main(["clean", str(folder), "--yes", "--keep-rounds", "2"]) == 0
    assert list((folder / "seed-0/finepseudo/round-01/embeddings").glob("part-*"))
    assert not list((folder / "seed-0/round-00/embeddings").glob("part-*"))


def test_a_training_that_is_not_done_keeps_its_checkpoints(folder):
    (folder / "pretrain" / "DONE.json").unlink()
    assert main(["clean", str(folder), "--yes"]) == 0
    assert (folder / "pretrain" / "checkpoints" / "step-4.pt").exists()


def test_a_run_in_which_a_command_works_is_left_alone(folder, capsys):
    with locked(folder):
        assert main(["clean", str(folder), "--yes"]) == 2
    assert "another command works in it" in capsys.readouterr().err


def test_a_draw_that_works_behind_a_link_is_left_alone(folder, capsys):
    draw = folder.with_name(f"{folder.name}-seed0")
    draw.mkdir()
    shutil.move(folder / "seed-0", draw / "seed-0")
    (folder / "seed-0").symlink_to(os.path.relpath(draw / "seed-0", folder))
    with locked(draw):
        assert main(["clean", str(folder), "--yes"]) == 2
    assert "another command works in it" in capsys.readouterr().err


def test_no_run_is_one_line(tmp_path, capsys):
    assert main(["clean", "nothing", f"out={tmp_path}"]) == 2
    assert f"nothing: no such run; {tmp_path} holds no run; name one" in capsys.readouterr().err
