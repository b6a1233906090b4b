"""Who proposes trials and who stops them, by the names that a space file uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.tune.space import SpaceConfig
from jobs.workers.pair_probe import OBJECTIVE
from shards.errors import UserError

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import SearchAlgorithm, Searcher


def scheduler_of(space: SpaceConfig) -> TrialScheduler:
    """Make what stops weak trials before their end."""
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    if space.scheduler == "none":
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr="training_iteration",
        max_t=space.length,
        grace_period=min(space.grace, space.length),
        reduction_factor=space.reduction,
    )


def search_of(space: SpaceConfig, at_once: int) -> SearchAlgorithm | Searcher:
    """Make what proposes values, at most `at_once` trials at a time; `UserError` without the package that it needs."""
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.basic_variant import BasicVariantGenerator

    if space.search == "random":
        # the cap belongs here: TuneConfig's own does not reach a generator that is given
        return BasicVariantGenerator(max_concurrent=at_once, random_state=space.seed)
    need_optuna()
    from ray.tune.search.optuna import OptunaSearch

    found: Any = OptunaSearch(seed=space.seed, metric=OBJECTIVE, mode="max")
    return ConcurrencyLimiter(found, max_concurrent=at_once)


def need_optuna() -> None:
    """Raise one clear line where Optuna is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            "search = optuna: the package optuna is not installed; pip install 'finepseudo[search]', or search: random"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
