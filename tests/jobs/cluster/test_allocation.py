"""What the cluster launcher reads from Slurm, and how it finds addresses."""

import pytest

from jobs.cluster.allocation import MB, Allocation, host_names, local_address, node_address
from shards.errors import UserError

STEP = {
    "SLURM_JOB_ID": "123456",
    "SLURM_PROCID": "1",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURMD_NODENAME": "n2",
    "SLURM_CPUS_ON_NODE": "6",
}


@pytest.fixture(autouse=True)
def scontrol(tmp_path, monkeypatch):
    """A stand-in that knows two nodes."""
    (tmp_path / "scontrol").write_text(
        "#!/bin/bash\ncase $2 in hostnames) printf 'n1\\nn2\\n';; "
        "node) [ $3 = n1 ] || { echo no $3 >&2; exit 1; }; echo 'NodeName=n1 NodeAddr=127.0.0.1 ';; esac\n"
    )
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_a_task_knows_its_place_and_its_share():
    task = Allocation.of({**STEP, "SLURM_RESTART_COUNT": "2", "SLURM_MEM_PER_CPU": "1000"})
    assert (task.rank, task.node, task.nodes, task.attempt) == (1, "n2", ("n1", "n2"), "2")
    assert (task.cpus, task.gpus, task.memory_bytes) == (6, 0, 6000 * MB)
    assert task.object_store_bytes(100) == 100 * MB
    assert 80 * MB <= task.object_store_bytes(None) <= 0.3 * 6000 * MB


def test_without_counted_memory_the_object_store_stays_small():
    task = Allocation.of(STEP)
    assert task.memory_bytes is None
    assert 80 * MB <= task.object_store_bytes(None) <= 2048 * MB


def test_gpus_are_those_that_torch_can_use(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert Allocation.of({**STEP, "SLURM_GPUS_ON_NODE": "4"}).gpus == 1
    assert "Slurm grants 4 GPUs, torch sees 1" in capsys.readouterr().out
    assert Allocation.of({**STEP, "SLURM_GPUS_ON_NODE": "1"}).gpus == 1
    assert capsys.readouterr().out == ""


def test_outside_of_a_step_and_with_several_tasks_a_node_it_refuses():
    with pytest.raises(UserError, match=r"SLURM_PROCID.*start this with srun"):
        Allocation.of({"SLURM_JOB_ID": "1"})
    with pytest.raises(UserError, match=r"4 tasks on 2 nodes.*--ntasks-per-node=1"):
        Allocation.of({**STEP, "SLURM_STEP_NUM_TASKS": "4"})


def test_names_and_addresses_come_from_the_controller():
    assert host_names("n[1-2]") == ("n1", "n2")
    assert node_address("n1") == "127.0.0.1"
    with pytest.raises(UserError, match="no n9"):
        node_address("n9")


def test_the_local_address_is_the_one_that_routes_to_the_peer():
    assert local_address("127.0.0.1") == "127.0.0.1"
