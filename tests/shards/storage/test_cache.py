import errno
import logging
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shards.errors import UserError
from shards.storage.cache import Cache
from shards.storage.config import CacheConfig


def make(folder, limit):
    return Cache(CacheConfig(folder=str(folder), gigabytes=limit / 1e9))


def fetcher(data, calls=None, wait=0.0):
    def fetch(path):
        if calls is not None:
            calls.append(path)
        time.sleep(wait)
        path.write_bytes(data)

    return fetch


def content(file):
    with file:
        return file.read()


def entries(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_an_entry_is_fetched_once_and_found_again(tmp_path):
    calls = []
    cache = pickle.loads(pickle.dumps(make(tmp_path / "c", 100)))
    assert not (tmp_path / "c").exists()
    assert [content(cache.open("a", 5, fetcher(b"hello", calls))) for _ in range(3)] == [b"hello"] * 3
    assert len(calls) == 1


def test_the_least_recently_used_makes_room(tmp_path):
    cache = make(tmp_path, 30)
    for name in "abc":
        content(cache.open(name, 9, fetcher(name.encode() * 9)))
        time.sleep(0.01)
    content(cache.find("a", 9))
    content(cache.open("d", 9, fetcher(b"d" * 9)))
    assert entries(tmp_path) == {"a", "c", "d"}


def test_an_open_entry_outlives_its_removal(tmp_path):
    cache = make(tmp_path, 10)
    file = cache.open("a", 8, fetcher(b"a" * 8))
    content(cache.open("b", 8, fetcher(b"b" * 8)))
    assert entries(tmp_path) == {"b"}
    assert content(file) == b"a" * 8


@settings(deadline=None, max_examples=25)
@given(
    wanted=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=40),
    limit=st.integers(1, 60),
)
@example(wanted=[(3, 0)], limit=15)  # 15e-9 gigabytes are 14.999.. bytes
def test_the_limit_holds_at_every_moment(tmp_path_factory, wanted, limit):
    folder = tmp_path_factory.mktemp("cache")
    caches = [make(folder, limit) for _ in range(4)]  # as four processes have it
    for number, who in wanted:
        size = 3 + 4 * number

        def fetch(path, size=size):
            path.write_bytes(bytes(size))
            assert sum(p.stat().st_size for p in folder.iterdir() if not p.name.startswith(".lock")) <= limit

        file = caches[who].open(f"entry-{number}", size, fetch)
        assert (file is None) == (size > limit)
        if file:
            assert content(file) == bytes(size)


def test_many_threads_fetch_an_entry_once(tmp_path):
    calls = []
    caches = [make(tmp_path, 1000) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(lambda c: content(c.open("a", 3, fetcher(b"abc", calls, 0.1))), cache) for cache in caches]
        assert [job.result() for job in jobs] == [b"abc"] * 8
    assert len(calls) == 1


def test_downloads_in_work_count(tmp_path):
    """While one download takes all the room another is refused; after it, it gets its turn."""
    cache, begun, go = make(tmp_path, 10), threading.Event(), threading.Event()

    def slow(path):
        begun.set()
        go.wait(10)
        path.write_bytes(b"a" * 8)

    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(cache.open, "a", 8, slow)
        begun.wait(10)
        assert cache.open("other", 8, fetcher(b"b" * 8)) is None
        go.set()
        content(job.result())
    assert content(cache.open("other", 8, fetcher(b"b" * 8))) == b"b" * 8


def test_a_failed_download_leaves_nothing(tmp_path):
    def fail(path):
        path.write_bytes(b"half")
        raise ValueError("gone")

    cache = make(tmp_path, 10)
    for _ in range(5):
        with pytest.raises(ValueError, match="gone"):
            cache.open("a", 8, fail)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
    assert content(cache.open("a", 8, fetcher(b"a" * 8))) == b"a" * 8


def test_left_overs_of_a_killed_process_are_removed(tmp_path):
    cache = make(tmp_path, 10)
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            cache.open("a", 8, lambda path: os._exit(0))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
    assert content(cache.open("a", 8, fetcher(b"a" * 8))) == b"a" * 8
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_a_cut_entry_is_fetched_again(tmp_path):
    cache = make(tmp_path, 100)
    content(cache.open("a", 5, fetcher(b"hello")))
    (tmp_path / "a").write_bytes(b"he")
    assert content(cache.open("a", 5, fetcher(b"hello"))) == b"hello"


def test_a_full_disk_is_one_line_and_no_cache_from_then_on(tmp_path, caplog):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    cache = make(tmp_path, 100)
    with caplog.at_level(logging.WARNING):
        assert cache.open("a", 5, full) is None
        assert cache.open("b", 5, fetcher(b"hello")) is None
    assert len(caplog.records) == 1
    assert "No space left on device; nothing more is kept there" in caplog.text


def test_without_room_nothing_is_kept(tmp_path):
    assert make(tmp_path / "c", 0).open("a", 5, fetcher(b"hello")) is None
    assert not (tmp_path / "c").exists()
    with pytest.raises(ValueError, match=r"gigabytes = -1"):
        CacheConfig(gigabytes=-1)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"reading\.cache\.folder: .*/file/c cannot be made \(Not a directory\)"):
        make(tmp_path / "file" / "c", 10).open("a", 5, fetcher(b"hello"))


def test_the_default_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "real").mkdir()
    (tmp_path / f"finepseudo-cache-{os.getuid()}").symlink_to(tmp_path / "real")
    with pytest.raises(UserError, match=r"belongs to somebody else; set reading\.cache\.folder"):
        Cache(CacheConfig()).open("a", 5, fetcher(b"hello"))
