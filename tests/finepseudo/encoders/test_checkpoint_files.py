"""Checkpoints are read as tensors and nothing else: what trainers leave beside them, cut and hostile files."""

import argparse
import pickle
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from finepseudo.encoders.checkpoint_files import read_checkpoint
from shards.errors import UserError

ONE = {"conv1.weight": torch.arange(6.0).reshape(2, 3)}


def read(content, tmp_path, name="x.pth"):
    torch.save(content, tmp_path / name)
    return read_checkpoint(tmp_path / name)[0]


def scaler():
    """A gradient scaler as trainers save it, the object itself: it has seen an optimiser."""
    made = torch.amp.GradScaler("cpu", enabled=True)
    weight = torch.nn.Parameter(torch.ones(1))
    made.scale((weight * 2).sum()).backward()
    optimiser = torch.optim.SGD([weight], lr=0.1)
    made.step(optimiser)
    made.update()
    return made


BESIDE = {
    "amp_scaler": scaler,
    "args": lambda: argparse.Namespace(lr=0.1, folder=Path("/data"), sizes=[1, 2]),
    "settings": lambda: types.SimpleNamespace(a=1),
    "path": lambda: Path("/some/where"),
    "best": lambda: np.float64(0.5),
    "array": lambda: np.arange(3),
    "scaler_state": lambda: scaler().state_dict(),
    "optimizer": lambda: torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]).state_dict(),
    "device": lambda: torch.device("cpu"),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_trainers_leave_beside_the_tensors_is_passed_over(name, tmp_path):
    tensors = read({"epoch": 3, "state_dict": OrderedDict(ONE), name: BESIDE[name]()}, tmp_path)
    assert list(tensors) == ["conv1.weight"]
    assert torch.equal(tensors["conv1.weight"], ONE["conv1.weight"])


def test_objects_of_the_named_types_are_not_made(tmp_path, monkeypatch):
    content = {"state_dict": ONE, "amp_scaler": scaler()}
    ran = []
    monkeypatch.setattr(torch.amp.GradScaler, "__setstate__", lambda *_: ran.append("code ran"), raising=False)
    read(content, tmp_path)
    assert ran == []


@pytest.mark.parametrize(
    "nest",
    [
        lambda inner: inner,
        lambda inner: {"state_dict": inner},
        lambda inner: {"model": {"state_dict": inner}},
        lambda inner: {"bb_state_dict": inner, "epoch": 1},
        lambda inner: {"online_backbone": inner, "target_backbone": inner},
        lambda inner: {"model_state": inner, "optimizer_state": {"state": {0: {"exp_avg": torch.ones(3)}}}},
        lambda inner: {"module": inner},
    ],
)
def test_tensors_are_found_where_trainers_keep_them(nest, tmp_path):
    assert list(read(nest(ONE), tmp_path)) == ["conv1.weight"]


def test_tables_without_a_known_name_are_joined_and_optimisers_left(tmp_path):
    content = {"teacher": ONE, "student": {"module": ONE}, "optimizer": {"state": {0: torch.ones(1)}}, "epoch": 2}
    assert sorted(read(content, tmp_path)) == ["student.module.conv1.weight", "teacher.conv1.weight"]


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def hostile_expansion():
    return {"state_dict": {"a": torch.ones(1).expand(1 << 40)}}


def refused(file, words):
    with pytest.raises(UserError, match=words) as caught:
        read_checkpoint(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(file))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state_dict": Evil()}, r"it names (builtins\.)?print, which is code"),
        ({"state_dict": ONE, "hook": Evil()}, r"it names (builtins\.)?print, which is code"),
        (hostile_expansion(), "fewer numbers than their shape"),
        ({"state_dict": {}}, "holds no table of names and tensors"),
        ([1, 2], "holds no table"),
        ({"a": torch.tensor([1.0, float("nan")])}, "NaN, infinity"),
        ({"a": torch.eye(3).to_sparse()}, "1 tensors hold"),
    ],
)
def test_contents_that_are_refused(content, words, tmp_path, capsys):
    torch.save(content, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", words)
    assert "code ran" not in capsys.readouterr().out


def test_a_pickle_without_torchs_frame_runs_nothing(tmp_path, capsys):
    for protocol in (2, 4):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps({"state_dict": Evil()}, protocol=protocol))
        refused(tmp_path / "x.pkl", "not loadable as plain tensors")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".legacy.pth"])
def test_files_that_are_cut_or_garbage(suffix, tmp_path):
    file = tmp_path / f"x{suffix}"
    if suffix == ".safetensors":
        save_file(ONE, file)
    else:
        torch.save(ONE, file, _use_new_zipfile_serialization=suffix == ".pth")
    assert list(read_checkpoint(file)[0]) == ["conv1.weight"]
    whole = file.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9, 0.99):
        file.write_bytes(whole[: int(share * len(whole))])
        refused(file, "not loadable as plain tensors")
        refused(file, r"plain tensors \((?!.*\. [A-Z])")  # one clause of what torch says, and whole
    for content in (b"garbage", b"<html>Not found</html>", bytes(2000), b"version https://git-lfs.github.com/spec/v1"):
        file.write_bytes(content)
        refused(file, "not loadable as plain tensors|holds no table")


def test_a_byte_that_changed_is_refused(tmp_path):
    torch.save({"a": torch.arange(1000)}, tmp_path / "x.pth")
    data = bytearray((tmp_path / "x.pth").read_bytes())
    data[data.find(torch.arange(500, 502).numpy().tobytes())] ^= 1
    (tmp_path / "x.pth").write_bytes(data)
    refused(tmp_path / "x.pth", "the bytes of x/data/0 are not the ones that were written")


def test_a_missing_file_and_a_folder(tmp_path):
    refused(tmp_path / "nothing.pth", "no such file")
    refused(tmp_path, "is a folder; give the path")


class Tower(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2, bias=False), torch.nn.LayerNorm(4))
        self.register_buffer("scale", torch.tensor(2.0))
        self.cls = torch.nn.Parameter(torch.randn(4))

    def forward(self, x):
        return self.visual[0](x) * self.scale + self.cls.view(1, 4, 1, 1)


@pytest.mark.parametrize("half", [False, True])
def test_a_torchscript_archive_gives_its_tensors_without_its_code(half, tmp_path, monkeypatch):
    tower = Tower().half() if half else Tower()
    torch.jit.script(tower).save(str(tmp_path / "clip.pt"))
    monkeypatch.setattr(torch.jit, "load", None)
    tensors, _ = read_checkpoint(tmp_path / "clip.pt")
    expected = tower.state_dict()
    assert sorted(tensors) == sorted(expected)
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


def test_a_hostile_torchscript_archive_runs_nothing(tmp_path, capsys):
    torch.jit.script(Tower()).save(str(tmp_path / "good.pt"))
    with zipfile.ZipFile(tmp_path / "good.pt") as good, zipfile.ZipFile(tmp_path / "bad.pt", "w") as bad:
        for name in good.namelist():
            evil = pickle.dumps(Evil()) if name.endswith("/data.pkl") else good.read(name)
            bad.writestr(name, evil)
    refused(tmp_path / "bad.pt", r"it names (builtins\.)?print, which is code")
    with zipfile.ZipFile(tmp_path / "good.pt") as good, zipfile.ZipFile(tmp_path / "cut.pt", "w") as cut:
        for name in good.namelist():
            cut.writestr(name, b"\0\0" if "/data/" in name else good.read(name))
    refused(tmp_path / "cut.pt", "not loadable as plain tensors")
    assert "code ran" not in capsys.readouterr().out
