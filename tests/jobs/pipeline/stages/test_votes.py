"""The answers of f_A beside that of f_E, of every method that aligns; what the actors make is written down here."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finepseudo.methods.base import Pool
from finepseudo.methods.table import METHODS
from finepseudo.run_folder.layout import METRICS, PREDICTIONS, VOTES_TABLE
from jobs.pipeline.stages import votes
from jobs.pipeline.stages.base import Run
from jobs.workers.part_files import write_part
from tests.jobs.pipeline.stages.one_stage import stage

ALIGNED = [name for name, method in METHODS.items() if method.aligns]
KEYS = ["a", "b", "c"]
SCORES = np.array([[0.9, 0.2], [0.4, 0.5], [0.0, 0.0]])
P_E = [[0.4, 0.6], [0.4, 0.6], [float("nan")] * 2]
TRUTH = {"a": 0, "b": 1, "c": 0}


def found(name, *overrides):
    return stage(f"seed-0/{name}/votes", f"methods=[{name}]", *overrides)


def test_there_are_such_methods_and_each_has_votes():
    assert {"verification", "finepseudo", "finepseudo_sefar"} <= set(ALIGNED)
    assert {found(name).method.name for name in ALIGNED} == set(ALIGNED)


@pytest.mark.parametrize("name", ALIGNED)
def test_f_a_answers_by_the_class_scores_at_the_method_s_temperature(name, tmp_path, monkeypatch):
    def align_clips(job, keys, *_):
        assert sorted(keys) == KEYS
        job.folder.mkdir(parents=True)
        table = pa.table({"key": KEYS, "scores": SCORES.astype(np.float32).tolist(), "valid": [True, True, False]})
        write_part(job.folder / "part-000000.parquet", table)
        return [job.folder / "part-000000.parquet"]

    monkeypatch.setattr(votes, "align_clips", align_clips)
    monkeypatch.setattr(votes, "plan_pool", lambda *_: None)
    monkeypatch.setattr(votes, "verification", lambda *_: None)
    monkeypatch.setattr(votes, "read_truth", lambda _: (TRUTH, ["x", "y"]))
    roles = {"test": KEYS, "held_out": []}
    monkeypatch.setattr(Run, "split", lambda self, seed: SimpleNamespace(keys=roles.__getitem__))
    made = found(name, f"out={tmp_path}", f"method.{name}.tau=0.2")
    made.test.folder.mkdir(parents=True)
    pq.write_table(pa.table({"key": KEYS, "p": pa.array(P_E, pa.list_(pa.float32()))}), made.test.folder / PREDICTIONS)
    made.run()
    table = pq.read_table(made.folder / VOTES_TABLE)
    powers = np.exp(SCORES[:2] / 0.2)
    wanted = powers / powers.sum(1, keepdims=True)
    assert np.allclose(table["p_A"].to_pylist()[:2], wanted, atol=1e-6)
    assert np.isnan(table["p_A"].to_pylist()[2]).all(), "a clip that could not be read has no answer"
    said = json.loads((made.folder / METRICS).read_text())
    assert (said["test"]["action"]["top1"], said["test"]["frame"]["top1"]) == (1 / 2, 1)


@pytest.mark.parametrize("name", [name for name in ALIGNED if METHODS[name].vote])
def test_it_is_what_the_method_records_beside_its_pseudo_labels(name):
    method, cfg = METHODS[name], METHODS[name].config(tau=0.3)
    labelled = method.vote(cfg, Pool(np.ones(3, bool), SCORES, np.full((3, 2), 0.5), np.zeros(3)))
    assert np.array_equal(labelled.p_a, method.p_a(cfg, SCORES))


@pytest.mark.parametrize("name", ALIGNED)
def test_another_temperature_asks_again(name):
    before, after = (dict(found(name, key).identity.config) for key in ("seeds=[0]", f"method.{name}.tau=0.7"))
    assert before != after
