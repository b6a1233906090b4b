"""The configuration of a command that works in a run which is there: what the run was made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobs.config.build import plain, set_dotted
from jobs.config.old_words import refuse_old_words
from jobs.config.recipes import build_run, parse_override
from jobs.config.run import RunConfig
from jobs.pipeline.run_folder import differing, read_config
from shards.errors import UserError
from shards.settings import shown


def of_folder(asked: RunConfig, command: str, overrides: Sequence[str], *, said: bool) -> RunConfig:
    """Give the configuration of an existing run, where it is and on the machines that the command line says.

    said: it names a recipe or lists too, which must be what the run was made with, as its overrides must.
    """
    made = read_config(asked.folder)
    here = plain(replace(made, name=asked.name, out=asked.out))
    for text in overrides:
        set_dotted(here, *parse_override(text))
    refuse_old_words(here)
    found = build_run(here)
    for key, was, now in differing(made, asked if said else found):
        raise UserError(
            f"{command}: {asked.folder} was made with {key}={shown(was)}, now it is {shown(now)}; `finepseudo run` "
            "takes a changed key and makes again what depends on it, or use another --name"
        )
    return found
