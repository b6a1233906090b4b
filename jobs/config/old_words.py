"""Words of recipes that have another name now: each is refused with one line that says the new one."""

from __future__ import annotations

from typing import Any

from shards.errors import UserError

METHOD_NAMES = {"confidence": "pseudo_label", "uncertainty": "ups", "collaborative": "finepseudo"}
PSEUDO_LABEL_KEYS = {
    "theta": "method.finepseudo.theta, method.pseudo_label.theta or method.verification.theta",
    "tau": "method.finepseudo.tau or method.verification.tau",
    "fuse": "method.finepseudo.fuse",
    "verification_theta": "method.verification.score_theta",
    "uncertainty_theta": "method.ups.theta",
    "uncertainty_kappa": "method.ups.kappa",
    "strategy": "methods",
}


def refuse_old_words(values: Any) -> None:  # noqa: ANN401 - what a YAML file holds
    """Raise UserError for the first old word in a configuration."""
    if not isinstance(values, dict):
        return
    if "strategies" in values:
        new = [METHOD_NAMES.get(str(name), str(name)) for name in _list(values["strategies"])]
        raise UserError(f"strategies: is called methods now; write methods=[{', '.join(new)}]")
    section = values.get("pseudo_labels")
    if "pseudo_labels" in values:
        named = [str(key) for key in section] if isinstance(section, dict) else []
        key = named[0] if named else "theta"
        new_key = PSEUDO_LABEL_KEYS.get(key, "method.<name>.<key>")
        raise UserError(f"pseudo_labels.{key}: each method has its own keys now; set {new_key}")
    for name in _list(values.get("methods")):
        if isinstance(name, str) and name in METHOD_NAMES:
            raise UserError(f"methods: {name} is called {METHOD_NAMES[name]} now")


def _list(value: object) -> list[object]:
    """Give a list, or a single name as one; what is neither is refused where the types are checked."""
    if isinstance(value, str):
        return [value]
    return value if isinstance(value, list) else []
