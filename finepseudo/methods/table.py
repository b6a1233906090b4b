"""Every method there is, in the order of the tables. A new one is a file of this folder and a line here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import make_dataclass
from typing import TYPE_CHECKING, Any

from finepseudo.methods.actor_cutmix import ACTOR_CUTMIX
from finepseudo.methods.base import AnyMethod, MethodConfig
from finepseudo.methods.cmpl import CMPL
from finepseudo.methods.finepseudo import FINEPSEUDO
from finepseudo.methods.finepseudo_sefar import FINEPSEUDO_SEFAR
from finepseudo.methods.fixmatch import FIXMATCH
from finepseudo.methods.freematch import FREEMATCH
from finepseudo.methods.mean_teacher import MEAN_TEACHER
from finepseudo.methods.pseudo_label import PSEUDO_LABEL
from finepseudo.methods.pseudo_label_online import PSEUDO_LABEL_ONLINE
from finepseudo.methods.sefar import SEFAR, SEFAR_AS_RELEASED, SEFAR_STABLE
from finepseudo.methods.softmatch import SOFTMATCH
from finepseudo.methods.supervised import SUPERVISED
from finepseudo.methods.svformer import SVFORMER
from finepseudo.methods.tg_fixmatch import TG_FIXMATCH
from finepseudo.methods.timebalance import TIMEBALANCE
from finepseudo.methods.uda import UDA
from finepseudo.methods.ups import UPS
from finepseudo.methods.verification import VERIFICATION
from shards.settings import Settings, section

METHODS: dict[str, AnyMethod] = {
    method.name: method
    for method in (
        SUPERVISED,
        PSEUDO_LABEL,
        PSEUDO_LABEL_ONLINE,
        UPS,
        MEAN_TEACHER,
        FIXMATCH,
        UDA,
        SOFTMATCH,
        FREEMATCH,
        CMPL,
        ACTOR_CUTMIX,
        SVFORMER,
        SEFAR,
        SEFAR_AS_RELEASED,
        SEFAR_STABLE,
        TG_FIXMATCH,
        TIMEBALANCE,
        VERIFICATION,
        FINEPSEUDO_SEFAR,
        FINEPSEUDO,
    )
}
"""Name -> method. Of those that ran, the report shows the last one in detail."""

REFERENCE = SUPERVISED.name
"""What gains are measured against."""

if TYPE_CHECKING:

    class MethodsConfig(Settings):
        """A section for each method, by name."""

        def __getattr__(self, name: str) -> Any: ...  # noqa: ANN401

else:
    MethodsConfig = make_dataclass(
        "MethodsConfig",
        [(name, made.config, section(made.config, f"{made.title}: {made.paper}")) for name, made in METHODS.items()],
        bases=(Settings,),
        frozen=True,
        kw_only=True,
        slots=True,
        namespace={"__module__": __name__, "__doc__": "A section for each method, by name."},
    )


def settings(methods: MethodsConfig, name: str) -> MethodConfig:
    """Give the config of one method out of the section `method` of a recipe."""
    found: MethodConfig = getattr(methods, name)
    return found


def in_order(names: Iterable[str]) -> list[str]:
    """Sort names as the tables have them: the known ones in the order above, then others by name."""
    given = set(names)
    known = [name for name in METHODS if name in given]
    return known + sorted(given - set(known))


def title(name: str) -> str:
    """Name a method for readers; a folder of an unknown one is called what it is."""
    return METHODS[name].title if name in METHODS else name
