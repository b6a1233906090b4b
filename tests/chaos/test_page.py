"""The table of what came of the faults."""

from jobs.bench.chaos.page import markdown
from jobs.bench.chaos.trials import Trial


def test_faults_are_counted_by_kind_and_point_and_broken_promises_are_listed():
    point = "driver: before rename smoke/seed-{}/scores/part-{}.parquet"
    trials = [
        Trial(kind="kill at a point", point=point.format(0, 1), seconds=12, undisturbed=8),
        Trial(kind="kill at a point", point=point.format(0, 22), seconds=10, undisturbed=9),
        Trial(kind="kill at a point", point="never", struck=False),
        Trial(kind="file: cut", point="config.yaml", refused="error: config.yaml", problems=["config.yaml differs"]),
        Trial(kind="file: cut", point="STOP", problems=["the same command ends with 1: Traceback"]),
    ]
    page = markdown(trials, "finepseudo bench chaos --minutes 1", "2 cores").splitlines()
    assert (
        "4 faults struck (1 more were drawn whose point was not reached); 2 of the runs ended as the undisturbed one."
        in page
    )
    assert "| kill at a point | all | 2 | 2 | 2 | 0 | 2 |" in page
    assert "| kill at a point | driver: before rename smoke/seed-N/scores/part-N.parquet | 2 | 2 | 2 | 0 | 2 |" in page
    assert "| file: cut | all | 2 | 1 | 0 | 1 | 0 |" in page
    assert "- file: cut; STOP: the same command ends with 1: Traceback" in page
