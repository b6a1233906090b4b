import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from shards.errors import UserError
from shards.files import append_line, atomic, check_writable, walked, write_bytes
from shards.storage.remote import RemoteError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("killed")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_file_appears_whole_and_only_at_the_end(tmp_path):
    path = tmp_path / "deep" / "table"
    with atomic(path) as temporary:
        temporary.write_bytes(b"new")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_mask_alone_decides_who_may_read_a_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with atomic(tmp_path / "weights") as temporary:
            save_file({"w": torch.zeros(2)}, temporary)
    finally:
        os.umask(before)
    assert (tmp_path / "weights").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "the disk or its server fails"),
    ],
)
def test_disk_trouble_is_one_line_naming_the_file(tmp_path, code, message):
    with pytest.raises(UserError, match=rf"cannot write .*table: .*{message}"), atomic(tmp_path / "table"):
        raise OSError(code, "trouble")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [check_writable, lambda path: write_bytes(path, b"x")])
@pytest.mark.parametrize(
    ("name", "message"), [("file/table", "a part of the path is a file"), ("folder", "it is a folder")]
)
def test_a_place_where_no_file_can_be_is_one_line_too(tmp_path, write, name, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=message):
        write(tmp_path / name)
    assert len(list(tmp_path.rglob("*"))) == 2


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path):
    write_bytes(tmp_path / "old", b"old")
    check_writable(tmp_path / "old")
    check_writable(tmp_path / "new" / "table")
    assert (tmp_path / "old").read_bytes() == b"old"
    assert list((tmp_path / "new").iterdir()) == []


def test_other_errors_are_not_dressed_up(tmp_path):
    for error in (OSError(errno.EBADF, "Bad file descriptor"), RemoteError(errno.EIO, "no answer", "s3://shards")):
        with pytest.raises(OSError) as caught, atomic(tmp_path / "table"):
            raise error
        assert caught.value is error


def test_a_line_is_appended_whole_or_not_at_all(small_disk):
    folder, resize = small_disk
    resize(8 * 4096)
    text = "x" * 5000
    append_line(folder / "log", text)
    with pytest.raises(UserError, match=r"cannot write .*log: no space is left on the disk"):
        for _ in range(9):
            append_line(folder / "log", text)
    lines = (folder / "log").read_text().splitlines(keepends=True)
    assert set(lines) == {text + "\n"}
    resize(64 * 4096)
    append_line(folder / "log", text)
    assert (folder / "log").read_text() == (text + "\n") * (len(lines) + 1)


def test_a_folder_that_cannot_be_listed_is_not_passed_over(tmp_path):
    (tmp_path / "a").mkdir()
    assert [(Path(place).name, names) for place, names, _ in walked(tmp_path)] == [(tmp_path.name, ["a"]), ("a", [])]
    with pytest.raises(UserError, match=r"gone: cannot be listed: No such file or directory"):
        list(walked(tmp_path / "gone"))
