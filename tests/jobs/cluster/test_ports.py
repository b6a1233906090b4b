"""Blocks of ports: neighbours never share one, whoever takes one first has it."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cluster.ports import BLOCKS, FIRST, SIZE, reserve
from shards.errors import UserError

REPOSITORY = Path(__file__).parents[3]
HOLD = """
import sys
from jobs.cluster.ports import reserve
block = reserve(int(sys.argv[1]))
print(block.first, block.head, block.client_server, flush=True)
input()
"""


def ports(block):
    return {block.first, block.head, block.client_server}


def test_jobs_with_neighbouring_numbers_share_no_port():
    blocks = [reserve(number) for number in range(2990, 3010)]
    taken = [port for block in blocks for port in ports(block)]
    assert len(set(taken)) == len(taken)
    assert all(FIRST <= port < FIRST + SIZE * BLOCKS <= 32768 for port in taken)


def test_processes_that_ask_for_the_same_block_at_the_same_time_get_different_ones():
    line = [sys.executable, "-c", HOLD, "77"]
    held = [
        subprocess.Popen(line, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    try:
        taken = [int(port) for process in held for port in process.stdout.readline().split()]
    finally:
        for process in held:
            process.communicate("")
    assert len(taken) == 18
    assert len(set(taken)) == 18


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("offset", [0, 1, 2])
def test_a_block_with_a_port_that_somebody_listens_on_is_passed_over(address, offset):
    block = reserve(1234)
    first = block.first
    block.guard.close()
    with socket.create_server((address, first + offset)):
        assert not ports(reserve(1234)) & set(range(first, first + SIZE))


def test_when_all_are_taken_the_range_is_named():
    first = FIRST + SIZE * 5
    block = reserve(5, tries=1)
    with pytest.raises(UserError, match=f"ports {first} to {first + SIZE - 1} are in use"):
        reserve(5, tries=1)
    block.guard.close()
