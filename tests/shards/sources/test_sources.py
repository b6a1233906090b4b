"""Frame folders, tar members and URLs become the same shards as the files they stand for."""

import contextlib
import socket
import tarfile
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shards.annotations.base import absolute
from shards.annotations.config import DatasetConfig
from shards.annotations.csv import read as read_csv
from shards.errors import SampleError, UserError
from shards.sources.frames import image_names
from shards.sources.presence import missing_paths
from shards.sources.sources import GONE, identities, plain_path
from shards.storage import remote
from shards.write.config import ShardConfig
from shards.write.plans import plan_shards
from shards.write.writer import write_shard
from tests.conftest import use_s3
from tests.shards.make_clips import need_data, numbered_frame, read_numbers, write_numbered

H264 = ShardConfig()
SCHEMA = pa.schema([("key", pa.string()), ("path", pa.string()), ("start", pa.float64()), ("end", pa.float64())])


def write(folder, paths, start=None, end=None, rate=25.0, cfg=H264, files=""):
    """Write one shard; keys are k0, k1, ..."""
    rows = [{"key": f"k{i}", "path": str(path), "start": start, "end": end} for i, path in enumerate(paths)]
    (plan,) = plan_shards(pa.Table.from_pylist(rows, schema=SCHEMA), cfg, rate, files)
    return write_shard(plan, folder, cfg)


def reasons(result):
    return [row["reason"] for row in result.quarantine]


def stored(folder, result):
    """The frame numbers of every stored clip."""
    data = (folder / result.tar).read_bytes()
    files = []
    for row in result.rows:
        files.append(folder / f"{row['key']}.mp4")
        files[-1].write_bytes(data[row["offset"] : row["offset"] + row["size"]])
    return [read_numbers(str(file)) for file in files]


def frame_folder(folder, n, name="{}.jpg", size=(160, 96)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        Image.fromarray(numbered_frame(number, *size)).save(folder / name.format(number), quality=95)
    return folder


def pack(archive, **members):
    with tarfile.open(archive, "w") as tar:
        for name, path in members.items():
            tar.add(path, arcname=name.replace("__", "/"))
    return archive


def test_a_frame_folder_is_read_in_natural_order(tmp_path):
    folder = frame_folder(tmp_path / "f", 12)
    (folder / "notes.txt").write_text("not an image")
    (folder / "._0.jpg").write_bytes(b"not one either")
    png = frame_folder(tmp_path / "png", 5, "frame_{:04d}.PNG")
    result = write(tmp_path / "s", [folder, png], rate=10)
    assert stored(tmp_path / "s", result) == [list(range(12)), list(range(5))]
    assert [row["fps"] for row in result.rows] == [10.0, 10.0]


@pytest.mark.parametrize("rate", [25.0, 29.97])
def test_a_cut_of_a_frame_folder_takes_exactly_its_frames(tmp_path, rate):
    folder = frame_folder(tmp_path / "f", 12)
    result = write(tmp_path / "s", [folder], start=3 / rate, end=9 / rate, rate=rate)
    assert stored(tmp_path / "s", result) == [[3, 4, 5, 6, 7, 8]]


def test_what_is_wrong_with_a_folder_is_said(tmp_path):
    sizes = frame_folder(tmp_path / "sizes", 4)
    Image.new("RGB", (80, 60)).save(sizes / "3.jpg")
    flow = frame_folder(frame_folder(tmp_path / "flow", 2, "img_{}.jpg"), 2, "mask_{}.jpg")
    broken = frame_folder(tmp_path / "broken", 3)
    (broken / "1.jpg").write_bytes((broken / "1.jpg").read_bytes()[:200])
    (tmp_path / "empty").mkdir()
    result = write(tmp_path / "s", [sizes, flow, broken, tmp_path / "empty", tmp_path / "gone"])
    assert reasons(result) == ["mixed_sizes", "mixed_names", "decode_error", "empty_folder", "missing_file"]
    details = [row["detail"] for row in result.quarantine]
    assert "3.jpg is 80x60, the first image 160x96" in details[0]
    assert "img_#.jpg, mask_#.jpg" in details[1]
    assert details[2].startswith("1.jpg")


def test_profile_copy_refuses_a_folder(tmp_path):
    with pytest.raises(UserError, match=r"copy cannot store the folder .*use profile h264"):
        write(tmp_path / "s", [frame_folder(tmp_path / "f", 2)], cfg=ShardConfig(profile="copy"))


@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True), st.randoms())
def test_images_are_in_the_order_of_their_numbers(numbers, random):
    names = [f"v_2_{number}.jpg" for number in numbers]
    random.shuffle(names)
    assert image_names("k", names, "") == [f"v_2_{number}.jpg" for number in sorted(numbers)]


def test_members_of_a_tar_and_folders_in_it_are_the_files_they_hold(tmp_path):
    video = write_numbered(tmp_path / "a.mp4", 7)
    frames = frame_folder(tmp_path / "f", 4)
    archive = pack(tmp_path / "x.tar", clips__a=video, frames__1=frames, b=video)
    url = f"::{archive}"
    result = write(tmp_path / "s", [f"tar://{name}{url}" for name in ("clips/a", "frames/1", "b", "c")])
    assert stored(tmp_path / "s", result) == [list(range(7)), list(range(4)), list(range(7))]
    assert reasons(result) == ["missing_file"]
    plain = write(tmp_path / "p", [video])
    assert result.rows[0]["sha256"] == plain.rows[0]["sha256"]


def test_damaged_and_compressed_archives(tmp_path):
    archive = pack(tmp_path / "x.tar", a=write_numbered(tmp_path / "a.mp4", 5))
    (tmp_path / "cut.tar").write_bytes(archive.read_bytes()[:1000])
    (tmp_path / "no.tar").write_bytes(b"no tar at all" * 100)
    paths = [f"tar://a::{tmp_path}/{name}.tar" for name in ("cut", "no", "gone")]
    assert reasons(write(tmp_path / "s", paths)) == ["bad_archive", "bad_archive", "missing_file"]
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "a.mp4", arcname="a")
    for use in (lambda path: write(tmp_path / "g", [path]), lambda path: missing_paths([path])):
        with pytest.raises(UserError, match=r"x\.tar\.gz: the archive is compressed \(gzip\).*plain \.tar"):
            use(f"tar://a::{tmp_path}/x.tar.gz")


def test_a_web_server(tmp_path, web):
    address, folder = web
    video = write_numbered(folder / "a b.mp4", 6)
    urls = [f"{address}/a b.mp4?token=1.2", f"{address}/none.mp4"]
    result = write(tmp_path / "s", urls)
    assert stored(tmp_path / "s", result) == [list(range(6))]
    assert reasons(result) == ["missing_file"]
    assert result.rows[0]["sha256"] == write(tmp_path / "p", [video]).rows[0]["sha256"]
    assert missing_paths(urls) == urls[1:]
    before = identities(urls, 25)
    write_numbered(folder / "a b.mp4", 8)
    assert identities(urls, 25)[0] not in (before[0], GONE)
    assert before[1] == GONE


def test_cuts_of_one_remote_video_fetch_it_once(tmp_path, web, monkeypatch):
    address, folder = web
    write_numbered(folder / "long.mp4", 30)
    fetched = []
    true = remote.fetch
    monkeypatch.setattr(remote, "fetch", lambda url, target: fetched.append(target) or true(url, target))
    rows = [{"key": f"k{i}", "path": f"{address}/long.mp4", "start": i / 5, "end": (i + 1) / 5} for i in range(4)]
    (plan,) = plan_shards(pa.Table.from_pylist(rows, schema=SCHEMA), H264)
    result = write_shard(plan, tmp_path / "s", H264)
    assert stored(tmp_path / "s", result) == [list(range(5 * i, 5 * i + 5)) for i in range(4)]
    assert len(fetched) == 1
    assert not fetched[0].parent.exists()


@pytest.mark.slow
def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch):
    """Each layer of a client has its own attempts: together they must stay few."""
    monkeypatch.setattr(remote, "READ_S", 0.2)
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    silent = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{silent.getsockname()[1]}"
    use_s3(monkeypatch, address)
    held = []

    def accept():
        with contextlib.suppress(OSError):
            while True:
                held.append(silent.accept()[0])

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        for url in ("s3://b/x", f"{address}/x"):
            for ask in (remote.describe, lambda url: remote.read_range(url, 0, 9)):
                held.clear()
                with pytest.raises(remote.RemoteError):
                    ask(url)
                assert len(held) <= 8
    finally:
        silent.shutdown(socket.SHUT_RDWR)
        silent.close()
        thread.join()
        use_s3(monkeypatch, address)


def test_a_server_out_of_reach_is_tried_again_at_the_next_write(tmp_path, web):
    address, folder = web
    video = write_numbered(folder / "a.mp4", 6)
    dead = "http://127.0.0.1:9"
    first = write(tmp_path / "s", [video, f"{dead}/a.mp4"])
    assert reasons(first) == ["unreachable"]
    assert write(tmp_path / "s", [video, f"{dead}/a.mp4"]).written
    whole = write(tmp_path / "t", [video, f"{address}/a.mp4"])
    assert not whole.quarantine
    assert not write(tmp_path / "t", [video, f"{address}/a.mp4"]).written


def test_buckets_hold_files_frame_folders_and_tars(tmp_path, bucket):
    import s3fs

    video = write_numbered(tmp_path / "a.mp4", 7)
    frames = frame_folder(tmp_path / "f", 11)
    archive = pack(tmp_path / "x.tar", a=video, more__b=video)
    system = s3fs.S3FileSystem()
    for source, name in ((video, "v/a.mp4"), (archive, "x.tar")):
        system.put_file(str(source), f"{bucket}/{name}")
    for image in frames.iterdir():
        system.put_file(str(image), f"{bucket}/f/1/{image.name}")
    paths = [f"{bucket}/v/a.mp4", f"{bucket}/f/1", f"tar://more/b::{bucket}/x.tar", f"{bucket}/v/b.mp4"]
    result = write(tmp_path / "s", paths)
    assert stored(tmp_path / "s", result) == [list(range(7)), list(range(11)), list(range(7))]
    assert reasons(result) == ["missing_file"]
    assert missing_paths([*paths, f"tar://c::{bucket}/x.tar"]) == sorted([paths[3], f"tar://c::{bucket}/x.tar"])
    many = [f"{bucket}/v/{index}.mp4" for index in range(80)]  # listed once, not asked for one by one
    assert missing_paths([*many, paths[0]]) == sorted(many)
    before = identities(paths, 25)
    assert before == identities(paths, 25)
    assert identities(paths, 30)[1] != before[1]
    system.put_file(str(frames / "3.jpg"), f"{bucket}/f/1/4.jpg")
    after = identities(paths, 25)
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True, True]


def test_a_folder_is_another_source_when_one_image_changes(tmp_path):
    folder = frame_folder(tmp_path / "f", 5)
    assert write(tmp_path / "s", [folder]).written
    assert not write(tmp_path / "s", [folder]).written
    assert write(tmp_path / "s", [folder], rate=30).written
    Image.fromarray(numbered_frame(9, 160, 96)).save(folder / "2.jpg", quality=90)
    result = write(tmp_path / "s", [folder], rate=30)
    assert result.written
    assert stored(tmp_path / "s", result) == [[0, 1, 9, 3, 4]]


def test_an_unknown_protocol_names_a_way_out(tmp_path):
    with pytest.raises(UserError, match=r"nope:// cannot be read here.*install"):
        missing_paths(["nope://x/a.mp4"])


def test_lists_name_urls_and_tar_members(tmp_path):
    rows = ["a.mp4,x", "s3://b/v/c.mp4,x", "tar://d.mp4::x.tar,y", "tar://e/d.mp4::x.tar,y", "https://h/f.mp4?t=1,x"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    clips = read_csv(DatasetConfig(name="csv", lists={"all": str(tmp_path / "list.csv")})).clips.to_pylist()
    paths = {row["path"] for row in clips}
    assert paths == {
        f"{tmp_path}/a.mp4",
        "s3://b/v/c.mp4",
        f"tar://d.mp4::{tmp_path}/x.tar",
        f"tar://e/d.mp4::{tmp_path}/x.tar",
        "https://h/f.mp4?t=1",
    }
    assert len({row["key"] for row in clips}) == 5
    there = DatasetConfig(name="csv", lists={"all": str(tmp_path / "list.csv")}, videos="s3://b/all/")
    assert "s3://b/all/a.mp4" in read_csv(there).clips["path"].to_pylist()


def test_names_of_sources():
    assert absolute("s3://b/x", "a/c.mp4") == "s3://b/x/a/c.mp4"
    assert absolute("/data", "tar://c.mp4::t.tar") == "tar://c.mp4::/data/t.tar"
    assert absolute("s3://b", "tar://c.mp4::t.tar") == "tar://c.mp4::s3://b/t.tar"
    assert plain_path("tar://b/c.mp4::s3://x/a.tar") == "s3://x/a.tar/b/c.mp4"
    assert Path(plain_path("https://h/f.mp4?t=1.0")).stem == "f"


def test_an_image_folder_error_is_a_sample_error():
    with pytest.raises(SampleError, match="empty_folder"):
        image_names("k", ["a.txt"], "here")


@pytest.mark.parametrize(
    ("others", "files"),
    [(("flow_x_{}.jpg", "flow_y_{}.jpg"), ""), (("x_{}.jpg", "y_{}.png"), ""), (("mask_{}.jpg",), "img_*.jpg")],
)
def test_flow_beside_the_frames_is_left_alone_and_a_pattern_names_the_frames(tmp_path, others, files):
    for name in ("img_{}.jpg", *others):
        frame_folder(tmp_path / "a", 5 if name.startswith("img") else 4, name)
    result = write(tmp_path / "s", [tmp_path / "a"], files=files)
    assert stored(tmp_path / "s", result) == [[0, 1, 2, 3, 4]]
    other = write(tmp_path / "s", [tmp_path / "a"], files="img_[0-3].jpg")
    assert other.written
    assert stored(tmp_path / "s", other) == [[0, 1, 2, 3]]


@pytest.mark.parametrize(("name", "n"), [("zero", 12), ("one", 12), ("unpadded", 12), ("withflow", 12)])
def test_frame_folders_that_people_report(tmp_path, name, n):
    result = write(tmp_path, [need_data("cases/flow_beside_frames") / "frames" / name])
    assert [row["n_frames"] for row in result.rows] == [n]
    assert result.quarantine == []


def test_a_shard_keeps_the_remarks_on_its_clips(tmp_path):
    path = write_numbered(tmp_path / "a.mp4", 25)
    result = write(tmp_path / "s", [path], end=9.0)
    assert [(row["reason"], row["detail"][:25]) for row in result.remarks] == [
        ("cut_past_end", "the window ends at 9.00 s")
    ]
    again = write(tmp_path / "s", [path], end=9.0)
    assert (again.written, again.remarks) == (False, result.remarks)
