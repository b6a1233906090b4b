"""Files are written whole: a kill or a full disk leaves the old one; equal JSON has one hash."""

import errno
import os

import pytest

from finepseudo.run_folder.files import read_json, sha256_json, write_json
from shards.errors import UserError


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_kill_while_writing_leaves_the_old_file(tmp_path, monkeypatch, where):
    path = tmp_path / "file.json"
    write_json(path, {"value": "old"})

    def killed(*_):
        raise Killed

    monkeypatch.setattr(os, where, killed)
    with pytest.raises(Killed):
        write_json(path, {"value": "new"})
    monkeypatch.undo()
    assert read_json(path) == {"value": "old"}


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*file\.json: no space is left"):
        write_json(tmp_path / "file.json", 1)
    assert list(tmp_path.iterdir()) == []


def test_equal_json_has_one_hash():
    assert sha256_json({"a": 1, "b": [1, 2]}) == sha256_json({"b": [1, 2], "a": 1})
    assert sha256_json({"a": 1}) != sha256_json({"a": 2})
