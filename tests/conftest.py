"""What tests of several packages need."""

import subprocess

import pytest


@pytest.fixture
def small_disk(tmp_path):
    """Give a folder that is a file system of its own, and a way to set its size in bytes; root only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4096", "none", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here ({made.stderr.strip()}); root may")

    def resize(size):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)

    yield folder, resize
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
