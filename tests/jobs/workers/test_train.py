"""What is said of a training that a worker's exception has ended."""

import sys

import pytest

from jobs.workers.train import said_by_worker

TRACE = """ray::TrainWorker.execute() (pid=1)
  File "/project/jobs/workers/train_loop.py", line 251, in _train_step
    output = self.model(batch)
             ^^^^^^^^^^^^^^^^^
  File "/mine/my_objectives.py", line 19, in forward
    known = self.layer(frames)
  File "/venv/lib/python3.12/site-packages/torch/nn/modules/module.py", line 1775, in _call_impl
    return forward_call(*args, **kwargs)
  File "{prefix}/lib/python3.12/contextlib.py", line 81, in inner
    return func(*args, **kwds)
"""


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("RuntimeError: sizes do not fit", "RuntimeError: sizes do not fit (/mine/my_objectives.py:19)"),
        ("ValueError: two\n  lines", "ValueError: two lines (/mine/my_objectives.py:19)"),
        ("my_own.Error", "my_own.Error (/mine/my_objectives.py:19)"),
        ("shards.errors.UserError: loss: is 0; raise it", "shards.errors.UserError: loss: is 0; raise it"),
    ],
)
def test_it_names_what_was_raised_and_the_last_line_that_is_no_librarys(raised, said):
    assert said_by_worker(TRACE.format(prefix=sys.prefix) + raised) == said


def test_a_text_without_a_trace_is_given_as_it_ends():
    assert said_by_worker("worker died\nout of memory\n") == "out of memory"
    assert said_by_worker("") == "no reason was given"
