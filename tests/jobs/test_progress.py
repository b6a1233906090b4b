"""What a run says: the driver follows the logs of its workers, line by line, each line once."""

import json
import threading

import pytest

from jobs import progress
from jobs.progress import Reporter, Tail
from shards.errors import UserError


def line(step: int, loss: float = 1.0) -> dict[str, object]:
    tags = {"seed": 0, "method": None, "round": 0, "stage": "pretrain"}
    return {**tags, "step": step, "steps": 3, "train/loss": loss, "data/wait_fraction": 0.25}


def write(path, lines, end=""):
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(each) + "\n" for each in lines) + end)


def test_tail_gives_each_line_once_and_waits_for_the_end_of_a_line(tmp_path):
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.new() == []
    write(path, [line(1), line(2)], '{"step": ')
    assert [each["step"] for each in tail.new()] == [1, 2]
    assert tail.new() == []
    write(path, [], "3}\n")
    assert tail.new() == [{"step": 3}]


def test_tail_reads_a_replaced_file_from_its_beginning(tmp_path):
    path = tmp_path / "log"
    tail = Tail(path)
    write(path, [line(1), line(2), line(3)])
    tail.new()
    write(tmp_path / "shorter", [line(1)])
    (tmp_path / "shorter").replace(path)
    write(path, [line(2, 0.5), line(3, 0.5), line(4)])
    assert [each["step"] for each in tail.new()] == [1, 2, 3, 4]


def test_followed_lines_are_shown_and_kept_once_also_by_the_next_command(tmp_path, capsys):
    log = tmp_path / "stage.jsonl"
    for _ in range(2):  # the same command again follows the same log
        with Reporter(tmp_path, tensorboard=False) as reporter, reporter.follow("pretrain", log):
            if not log.exists():
                threading.Timer(0.1, write, (log, [line(1), line(2), line(3)])).run()
    said = capsys.readouterr().out
    assert [each["step"] for each in Tail(tmp_path / "metrics.jsonl").new()] == [1, 2, 3]
    assert said.count("pretrain step 2/3 loss 1 data-wait 25%") == 1


@pytest.mark.parametrize(("every", "lines"), [(0.0, ["part 8/10", "part 9/10", "part 10/10"]), (3600.0, [])])
def test_a_job_that_counts_its_parts_says_now_and_then_how_far_it_is(tmp_path, capsys, monkeypatch, every, lines):
    monkeypatch.setattr(progress, "SAY_S", every)
    with Reporter(tmp_path, tensorboard=False) as reporter, reporter.counting("round-00/embeddings") as count:
        for done in (7, 8, 9, 10):  # seven are there from an earlier command and say nothing about the speed
            count(done, 10)
    said = capsys.readouterr().out.splitlines()
    assert [line.split("embeddings ")[1].split(",")[0] for line in said] == lines
    assert all("about 0:00:0" in line and line.endswith("left") for line in said)


def test_a_full_disk_ends_the_following_with_one_line(small_disk, tmp_path):
    folder, _ = small_disk
    (folder / "fill").write_bytes(bytes(4096))
    log = tmp_path / "stage.jsonl"
    with (
        pytest.raises(UserError, match=r"cannot write .*metrics.jsonl: no space is left on the disk"),
        Reporter(folder, tensorboard=False) as reporter,
        reporter.follow("pretrain", log),
    ):
        write(log, [line(1)])


def test_whatever_breaks_in_the_following_is_raised_at_its_end(tmp_path):
    """An error of a thread would end nothing; here a line without a step."""
    log = tmp_path / "stage.jsonl"
    with (
        pytest.raises(KeyError, match="step"),
        Reporter(tmp_path, tensorboard=False) as reporter,
        reporter.follow("pretrain", log),
    ):
        write(log, [{"stage": "pretrain", "train/loss": 1.0}])


@pytest.mark.parametrize("damage", [b"\0" * 64, b'{"step": 2, "tr', b"\xff\xfe{}\n", b"[1]\n7\n", b"\0\0\0{}\n"])
def test_what_a_crashed_node_left_in_a_log_is_left_out_and_the_next_line_stands_alone(tmp_path, damage, capsys):
    path = tmp_path / "metrics.jsonl"
    write(path, [line(1)])
    with path.open("ab") as file:
        file.write(damage)
    before = path.read_bytes()
    with Reporter(tmp_path, tensorboard=False) as reporter:
        assert path.read_bytes() == before, "who only looks writes nothing"
        assert not reporter.scalars(line(1))
        assert reporter.scalars(line(2))
        assert reporter.scalars(line(3))
    assert [json.loads(text)["step"] for text in path.read_text().splitlines()] == [1, 2, 3]
    assert capsys.readouterr().err.count("damaged lines are left out") == 1
