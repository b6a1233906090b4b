"""Parts of old rounds: which go, that a run then does nothing, and that they come back where a key asks for them."""

import itertools

import pytest

from finepseudo.run_folder.done import is_done
from finepseudo.run_folder.freed import free, freeable, is_freed
from jobs.pipeline.freeing import PARTS, bring_back_read, free_old, old_parts
from jobs.pipeline.plan import unfinished
from shards.errors import UserError
from tests.jobs.pipeline.faked import make, run  # noqa: F401 - `make` is a fixture

METHODS = "methods=[supervised, pseudo_label, finepseudo]"


@pytest.fixture
def finished(make, monkeypatch):  # noqa: F811
    run(make, monkeypatch, "rounds=3", METHODS, "seeds=[0]")
    monkeypatch.undo()
    return make("rounds=3", METHODS, "seeds=[0]")[1]


def names(stages):
    return sorted(stage.name for stage in stages)


def test_the_newest_rounds_stay_and_a_run_then_finds_everything_done(finished):
    old = [stage.name for stage, _ in old_parts(finished, 2)]
    assert sorted(old) == [
        "seed-0/finepseudo/round-01/embeddings",
        "seed-0/finepseudo/round-01/scores",
        *(["seed-0/pseudo_label/round-01/embeddings"] if "seed-0/pseudo_label/round-01/embeddings" in old else []),
        "seed-0/round-00/embeddings",
        "seed-0/round-00/scores",
    ]
    before = {stage.identity.record: stage.identity.key() for stage in itertools.chain(*finished)}
    freed = free_old(finished, 2)
    assert names(freed) == sorted(old)
    for stage in freed:
        assert is_freed(stage.identity.record)
        assert not list(stage.folder.glob(PARTS))
    assert unfinished(finished) == []
    assert {stage.identity.record: stage.identity.key() for stage in itertools.chain(*finished)} == before
    assert bring_back_read(finished) == []
    assert free_old(finished, 2) == []
    assert free_old(finished, None) == []


def test_a_round_that_is_not_labelled_keeps_its_parts(finished):
    (labels,) = (
        stage for stage in itertools.chain(*finished) if stage.name == "seed-0/pseudo_label/round-00/pseudo_labels"
    )
    labels.identity.record.unlink()
    assert "seed-0/round-00/embeddings" not in names(free_old(finished, 1))
    assert "seed-0/round-00/scores" in names(free_old(finished, 1)) or is_freed(
        next(s for s in itertools.chain(*finished) if s.name == "seed-0/round-00/scores").identity.record
    )


def test_a_changed_key_brings_back_what_it_reads_and_no_more(make, finished, monkeypatch):  # noqa: F811
    free_old(finished, 1)
    _, plan = make("rounds=3", METHODS, "seeds=[0]", "method.pseudo_label.theta=0.123")
    back = names(bring_back_read(plan))
    assert [name for name in back if "/pseudo_label/" not in name] == ["seed-0/round-00/embeddings"]
    ran = run(make, monkeypatch, "rounds=3", METHODS, "seeds=[0]", "method.pseudo_label.theta=0.123")
    assert ran[:2] == ["seed-0/round-00/embeddings", "seed-0/pseudo_label/round-00/pseudo_labels"]
    assert not [name for name in ran if "finepseudo" in name], "the same bytes came back: nothing else is undone"


def test_scores_that_come_back_bring_their_embeddings(make, finished):  # noqa: F811
    free_old(finished, 1)
    _, plan = make("rounds=3", METHODS, "seeds=[0]", "embed.gallery_per_class=3")
    assert {"seed-0/round-00/embeddings"} <= set(names(bring_back_read(plan)))


def test_a_kill_between_mark_and_removal_leaves_a_finished_stage(finished, monkeypatch):
    stage, paths = next(iter(old_parts(finished, 1)))
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        free(stage.identity, paths)
    monkeypatch.undo()
    assert is_done(stage.identity)
    assert paths[0].exists()


def test_nothing_of_a_stage_that_is_not_done_can_go(finished):
    stage, _ = next(iter(old_parts(finished, 1)))
    stage.identity.record.unlink()
    assert freeable(stage.identity, PARTS) == []
    with pytest.raises(UserError, match="no record of a finished stage"):
        free(stage.identity, [])


def test_rounds_are_freed_while_the_run_goes_on(make, monkeypatch):  # noqa: F811
    made, _ = make("rounds=3", METHODS, "seeds=[0]", "embed.keep_rounds=1")
    ran = run(make, monkeypatch, "rounds=3", METHODS, "seeds=[0]", "embed.keep_rounds=1")
    left = sorted(path.parent.relative_to(made.paths.root).as_posix() for path in made.paths.root.rglob(PARTS))
    assert [name for name in left if "finepseudo" in name] == [
        "seed-0/finepseudo/round-03/embeddings",
        "seed-0/finepseudo/round-03/scores",
    ]
    assert len(ran) == len(set(ran))
    assert run(make, monkeypatch, "rounds=3", METHODS, "seeds=[0]", "embed.keep_rounds=1") == []
