"""Training state and weights on disk."""

import pickle

import pytest
import torch

from finepseudo.training.checkpoint import checkpoint_steps, load_state, load_weights, save_state, save_weights
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


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"step": 1})])
def test_a_damaged_checkpoint_is_one_line(tmp_path, content):
    (tmp_path / "step-000000001.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"step-000000001\.pt: damaged checkpoint"):
        load_state(tmp_path, 1)


def test_code_in_a_checkpoint_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save(Evil(), tmp_path / "step-000000001.pt")
    with pytest.raises(UserError):
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
