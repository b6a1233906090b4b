"""Training state and weights on disk."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finepseudo.training.checkpoint import (
    StateWriter,
    checkpoint_steps,
    drop_damaged,
    load_state,
    load_weights,
    save_state,
    save_weights,
)
from shards.errors import UserError


def test_state_comes_back_bit_for_bit_and_the_newest_are_kept(tmp_path):
    torch.manual_seed(0)
    for step in (1, 2, 10):
        state = {"step": step, "model": {"w": torch.randn(3)}, "optimiser": {"state": {0: {"m": torch.randn(2)}}}}
        save_state(tmp_path, step, state)
    assert checkpoint_steps(tmp_path) == [2, 10]
    found = load_state(tmp_path, 10)
    assert found["step"] == 10
    assert torch.equal(found["model"]["w"], state["model"]["w"])


def small(step: int) -> dict[str, object]:
    return {"step": step, "model": {"w": torch.arange(40.0) + step}}


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"step": 1})])
def test_a_damaged_checkpoint_is_one_line(tmp_path, content):
    (tmp_path / "step-000000001.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"step-000000001\.pt: damaged checkpoint .*; type the same command again"):
        load_state(tmp_path, 1)
    assert [path.name for path in drop_damaged(tmp_path)] == ["step-000000001.pt"]
    assert drop_damaged(tmp_path) == []


@settings(deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_a_flipped_bit_or_a_cut_anywhere_is_noticed_and_the_older_checkpoint_used(tmp_path_factory, at, bit, cut):
    folder = tmp_path_factory.mktemp("checkpoints")
    for step in (1, 2):
        save_state(folder, step, small(step))
    path = folder / "step-000000002.pt"
    data = bytearray(path.read_bytes())
    place = int(at * len(data))
    data[place] ^= 1 << bit
    path.write_bytes(data[:place] if cut else data)
    with pytest.raises(UserError, match=r"step-000000002\.pt: damaged checkpoint"):
        load_state(folder, 2)
    assert drop_damaged(folder) == [path]
    assert checkpoint_steps(folder) == [1]
    assert torch.equal(load_state(folder, 1)["model"]["w"], small(1)["model"]["w"])


def test_torch_alone_reads_a_checkpoint_too(tmp_path):
    path = save_state(tmp_path, 3, small(3))
    assert torch.load(path, weights_only=True)["step"] == 3


def test_code_in_a_checkpoint_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    save_state(tmp_path, 1, {"step": Evil()})
    with pytest.raises(UserError, match="damaged checkpoint"):
        load_state(tmp_path, 1)
    assert not (tmp_path / "ran").exists()


def test_weights_by_prefix(tmp_path):
    weights = {"encoder.w": torch.arange(3.0), "scorer.w": torch.ones(2)}
    save_weights(tmp_path / "w.safetensors", weights, {"stage": "x"})
    assert load_weights(tmp_path / "w.safetensors", "encoder.").keys() == {"w"}
    with pytest.raises(UserError, match=r"no weights under 'other\.'"):
        load_weights(tmp_path / "w.safetensors", "other.")
    with pytest.raises(UserError, match="cannot read the weights"):
        load_weights(tmp_path / "none.safetensors")


@pytest.mark.parametrize("kilobytes", [8, 64, 500, 1024])
@pytest.mark.parametrize("write", ["state", "weights"])
def test_a_full_disk_is_one_line_and_leaves_the_older_files(small_disk, kilobytes, write):
    """The libraries that write have words of their own for it: `unexpected pos 652480 vs 652368`."""
    folder, resize = small_disk
    resize(4 << 20)
    small, large = ({"step": 0, "weights": torch.zeros(n)} for n in (10, 500_000))
    save_state(folder, 1, small)
    resize(kilobytes << 10)
    with pytest.raises(UserError, match=r"cannot write .*: no space is left on the disk; free some or choose another"):
        save_state(folder, 2, large) if write == "state" else save_weights(
            folder / "w.safetensors", large | {"step": large["weights"]}
        )
    assert [path.name for path in folder.iterdir()] == ["step-000000001.pt"]
    assert load_state(folder, 1)["step"] == 0


def test_a_state_is_what_it_was_when_it_was_given_and_what_goes_wrong_is_told(tmp_path):
    writer = StateWriter(tmp_path / "states")
    weights = torch.zeros(1000)
    for step in (1, 2, 3):
        weights += 1
        writer.write(step, {"model": {"w": weights}})
    weights += 1
    writer.close()
    assert checkpoint_steps(tmp_path / "states") == [2, 3]
    assert torch.equal(load_state(tmp_path / "states", 3)["model"]["w"], torch.full((1000,), 3.0))
    (tmp_path / "file").write_text("no folder")
    writer = StateWriter(tmp_path / "file")
    writer.write(1, {"model": {}})
    with pytest.raises(UserError, match="a part of the path is a file, not a folder"):
        writer.close()
