"""Plans whose stages write what they are made from instead of working: no Ray, no video."""

import itertools

import pytest

from finepseudo.run_folder.files import write_json
from finepseudo.run_folder.layout import ACCEPTED
from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run, Stage
from jobs.progress import Reporter
from jobs.workers.part_files import GALLERY

RECORDED = {"method.verification.tau"}
"""Keys of a vote that change no accepted label."""


@pytest.fixture
def make(tmp_path):
    def made(*overrides: str):
        cfg = load("smoke", [f"out={tmp_path}", "seeds=[0, 1]", *overrides])
        made = Run(cfg, Reporter(cfg.folder, tensorboard=False))
        return made, make_plan(made)

    return made


def fake(plan, ran: list[str], monkeypatch) -> None:
    """Replace what stages do: write each output, whose content says from what it was made.

    Accepted labels and galleries change with the keys of their own stage alone, not with those that are only recorded.
    """

    def action(stage: Stage) -> None:
        ran.append(stage.name)
        for pattern in stage.outputs:
            config = {key: value for key, value in stage.identity.config.items() if key not in RECORDED}
            content = config if pattern in (ACCEPTED, GALLERY) else stage.identity.key()
            write_json(stage.folder / pattern.replace("*", "000000"), content)

    monkeypatch.setattr("jobs.pipeline.runner.side_by_side", lambda *_: False)
    monkeypatch.setattr("shards.files._fsync", lambda _: None)  # nothing here is about a crash of the machine
    for stage in itertools.chain(*plan):
        object.__setattr__(stage, "run", lambda stage=stage: action(stage))


def run(make, monkeypatch, *overrides: str, kinds=None) -> list[str]:
    made, plan = make(*overrides)
    ran: list[str] = []
    fake(plan, ran, monkeypatch)
    run_plan(made, plan, "code", kinds, write=True)
    return ran
