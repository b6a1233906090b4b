import io
import tarfile

import fsspec
import pytest

from shards.errors import UserError
from shards.sources.presence import missing_paths


def test_files_folders_links_and_shell_hostile_names(tmp_path):
    for name in ("a.mp4", "$(x) [y]*.mp4", "frames/000001.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "no_frames").mkdir()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "gone.mp4")
    there = [f"{tmp_path}/{name}" for name in ("a.mp4", "$(x) [y]*.mp4", "frames")]
    gone = [f"{tmp_path}/{name}" for name in ("b.mp4", "empty.mp4", "link.mp4", "no/c.mp4", "no_frames")]
    assert missing_paths([*there, *gone, *there]) == gone


def test_tar_members(tmp_path):
    with tarfile.open(tmp_path / "v.tar", "w") as tar:
        for name, data in (("clips/a.mp4", b"x"), ("./b.mp4", b"x"), ("c.mp4", b"")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    url = f"::{tmp_path}/v.tar"
    paths = [f"tar://{name}{url}" for name in ("clips/a.mp4", "b.mp4", "c.mp4", "d.mp4")]
    assert missing_paths(paths) == paths[2:]
    assert missing_paths([f"tar://a.mp4::{tmp_path}/none.tar"]) == [f"tar://a.mp4::{tmp_path}/none.tar"]


def test_urls(tmp_path):
    fsspec.filesystem("memory").pipe("/presence/a.mp4", b"x")
    paths = ["memory://presence/a.mp4", "memory://presence/b.mp4", "memory://nowhere/c.mp4"]
    assert missing_paths(paths) == sorted(paths[1:])


def test_a_damaged_archive_is_one_line(tmp_path):
    (tmp_path / "v.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(UserError, match="cannot be listed"):
        missing_paths([f"tar://a.mp4::{tmp_path}/v.tar"])
