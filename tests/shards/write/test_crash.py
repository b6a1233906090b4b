"""Writing shards is killed at every step and runs out of disk: nothing half-written counts, and the same call fixes it.

The process that is killed is a real one and the signal a real SIGKILL. The processes come from a server of their own:
a fork of the test's process, with the threads of other tests in it, might wait for a lock forever.
"""

import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from itertools import count

import pytest

from shards.errors import UserError
from shards.files import TEMPORARY_SUFFIX
from shards.storage.manifest import MANIFEST_JSON, Manifest
from shards.write.config import ShardConfig
from shards.write.plans import plan_shards
from shards.write.writer import finish, write_shard
from tests.shards.make_clips import write_numbered
from tests.shards.write.test_writer import clip_table, contents

CFG = ShardConfig(clips_per_shard=2)
STEPS = {"os.rename", "os.remove", "os.mkdir"}
TIMED_KILLS = 6
PAGE = 4096
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload([__name__])
clip_table([])  # pyarrow imports much at its first use: once here, not in every child

_steps_left: int | None = None


def _hook(event, arguments):
    """Kill this process at the step that was chosen; opening a file for writing is a step too."""
    global _steps_left  # noqa: PLW0603 - an audit hook cannot be taken away again
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if _steps_left is None or not (event in STEPS or writes):
        return
    if _steps_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    _steps_left -= 1


sys.addaudithook(_hook)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    paths = [write_numbered(folder / f"c{index}.mp4", 6 + index, width=64, height=64) for index in range(5)]
    (folder / "bad.mp4").write_bytes(b"no video")
    return [*paths, folder / "bad.mp4"]


@pytest.fixture(scope="module")
def undisturbed(videos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    write(folder, videos)
    return contents(folder)


def write(folder, videos, cfg=CFG):
    plans = plan_shards(clip_table(videos), cfg)
    return finish(folder, [write_shard(plan, folder, cfg) for plan in plans], cfg)


def in_child(folder, videos, *, steps=None, after_s=None, limit=None):
    """Write in a process of its own; return what it died of (0 = nothing, else the signal) and its UserError.

    Killed at file step `steps` or after a time; `limit`: largest file it may write, in bytes.
    """
    said = folder.with_name(f"{folder.name}.said")
    child = CHILDREN.Process(target=_child, args=(folder, videos, steps, limit, said))
    child.start()
    if after_s is not None:
        time.sleep(after_s)
        child.kill()
    child.join(60)
    assert child.exitcode is not None, "it hangs"
    message = said.read_text() if said.exists() else ""
    said.unlink(missing_ok=True)
    return -child.exitcode, message


def _child(folder, videos, steps, limit, said):
    global _steps_left  # noqa: PLW0603
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    _steps_left = steps
    try:
        write(folder, videos)
    except UserError as error:
        _steps_left = None
        said.write_text(str(error))
        sys.exit(UserError.exit_code)


def check_left_behind(folder):
    """What a kill leaves is either no manifest, or one whose every clip has the bytes it promises."""
    if (folder / MANIFEST_JSON).exists():
        manifest = Manifest.open(folder)
        assert all(manifest.read(key) for key in manifest.keys)


@pytest.mark.slow
@pytest.mark.parametrize(
    "earlier", [False, pytest.param(True, marks=pytest.mark.slow)]
)  # into an empty folder, and over the shards of another profile
def test_killed_at_every_step_the_same_call_ends_with_the_same_bytes(tmp_path, videos, undisturbed, earlier):
    killed = 0
    for steps in count():
        folder = tmp_path / str(steps)
        if earlier:
            write(folder, videos[:3], ShardConfig(short_side=48, clips_per_shard=1))
        died_of, _ = in_child(folder, videos, steps=steps)
        if died_of != signal.SIGKILL:
            assert died_of == 0
            break
        killed += 1
        check_left_behind(folder)
        write(folder, videos)
        assert contents(folder) == undisturbed, f"killed at step {steps}"
    assert killed > 40  # three shards of three files, quarantine, two manifest files; each opened and renamed


@pytest.mark.slow
def test_killed_at_any_time_the_same_call_ends_with_the_same_bytes(tmp_path, videos, undisturbed):
    started = time.perf_counter()
    write(tmp_path / "timing", videos)
    whole = time.perf_counter() - started
    rng = random.Random(0)
    for turn in range(TIMED_KILLS):
        folder = tmp_path / str(turn)
        died_of, _ = in_child(folder, videos, after_s=whole * rng.random())
        assert died_of in (0, signal.SIGKILL)
        if folder.exists():
            check_left_behind(folder)
        write(folder, videos)
        assert contents(folder) == undisturbed


def test_killed_again_and_again_each_shard_is_written_once(tmp_path, videos, undisturbed):
    """What a killed call has finished is there: each one gets further, so any number of kills comes to an end."""
    deaths = 0
    folder = tmp_path / "shards"
    while in_child(folder, videos, steps=15)[0] == signal.SIGKILL:
        deaths += 1
        assert deaths < 20
    assert deaths >= 2
    assert contents(folder) == undisturbed


def test_a_full_disk_is_one_line_at_any_size_and_more_room_mends_it(small_disk, videos, undisturbed):
    folder, resize = small_disk
    refusals = set()
    for pages in count(1):
        resize(pages * PAGE)
        try:
            write(folder, videos)
            break
        except UserError as error:
            assert "no space is left on the disk; free some or choose another folder" in str(error)
            assert "\n" not in str(error)
            refusals.add(str(error).split(":")[0].rsplit("/", 1)[-1])
        assert not [name for name in contents(folder) if name.endswith(TEMPORARY_SUFFIX) or name == MANIFEST_JSON]
    assert contents(folder) == undisturbed
    assert {"shard-000000.tar", "shard-000002.tar", MANIFEST_JSON} <= refusals | {MANIFEST_JSON}
    assert len(refusals) >= 5


def test_a_limit_on_the_size_of_files_is_one_line_too(tmp_path, videos):
    folder = tmp_path / "shards"
    code, message = in_child(folder, videos, limit=3000)
    assert code == -UserError.exit_code
    assert "shard-000000.tar: the limit on the size of a file is reached; raise it (ulimit -f)" in message
    assert list(folder.iterdir()) == []
