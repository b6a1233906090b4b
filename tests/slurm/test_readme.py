"""Slurm takes every batch line that the README tells people to type."""

import shlex

import pytest

from tests.slurm.lab import REPOSITORY
from tests.test_docs import commands


@pytest.mark.slurm
@pytest.mark.slow
@pytest.mark.parametrize("line", commands("sbatch"))
def test_slurm_takes_every_batch_line(line, lab):
    words = shlex.split(line)
    # the lab has two nodes, one partition and eight CPUs a node; the directives themselves stand in tests/golden
    small = ["--test-only", "--nodes=2", "--cpus-per-task=1", "--gpus-per-node=1", "--time=1", "--partition=debug"]
    place = next(i for i, word in enumerate(words) if word.startswith("slurm/"))
    lab.command(*words[:place], *small, str(REPOSITORY / words[place]), *words[place + 1 :])
