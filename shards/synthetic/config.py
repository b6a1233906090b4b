"""Which dives to render: class names, counts, nuisance strength, seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shards.settings import BadSetting, Settings, setting

CLASS_SETS: dict[str, tuple[str, ...]] = {
    "demo6": ("F:S25t", "F:SpT1", "F:T1Sp", "B:S25p", "R:S25t", "R:S15p"),
    "dev12": tuple(f"{takeoff}:{program}" for takeoff in "FBR" for program in ("S25t", "S25p", "SpT1", "T1Sp")),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Takeoff:
    """How the diver leaves the platform: facing the water (+1) or not, turning clockwise (-1) or not, handstand."""

    facing: int
    turn: int
    handstand: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Flight:
    """One phase of the flight: somersaults and twists in turns, and the pose held."""

    somersaults: float
    twists: float
    pose: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Nuisance:
    """What varies between videos of one class: spread of phase durations, camera, size, light, pixel noise (0..255)."""

    durations: float
    jitter: float
    track: float
    scale: float
    light: float
    noise: float


TAKEOFFS = {
    "F": Takeoff(facing=1, turn=-1),
    "B": Takeoff(facing=-1, turn=-1),
    "R": Takeoff(facing=1, turn=1),
    "I": Takeoff(facing=-1, turn=1),
    "A": Takeoff(facing=1, turn=-1, handstand=True),
}
_PIKE = Flight(somersaults=1.0, twists=0.0, pose="pike")
_TUCK = Flight(somersaults=1.0, twists=0.0, pose="tuck")
_TUCK15 = Flight(somersaults=1.5, twists=0.0, pose="tuck")
_TWIST = Flight(somersaults=0.5, twists=1.0, pose="twist")
_TWIST2 = Flight(somersaults=0.5, twists=2.0, pose="twist")
PROGRAMS: dict[str, tuple[Flight, ...]] = {
    "S15t": (_TUCK15,),
    "S15p": (Flight(somersaults=1.5, twists=0.0, pose="pike"),),
    "S15s": (Flight(somersaults=1.5, twists=0.0, pose="straight"),),
    "S25t": (Flight(somersaults=2.5, twists=0.0, pose="tuck"),),
    "S25p": (Flight(somersaults=2.5, twists=0.0, pose="pike"),),
    "S35t": (Flight(somersaults=3.5, twists=0.0, pose="tuck"),),
    "F15": (Flight(somersaults=1.5, twists=0.0, pose="free"),),
    "SpT1": (_PIKE, _TWIST),
    "T1Sp": (_TWIST, _PIKE),
    "StT1": (_TUCK, _TWIST),
    "T1St": (_TWIST, _TUCK),
    "SpSt": (_PIKE, _TUCK15),
    "StSp": (_TUCK15, _PIKE),
    "T2Sp": (_TWIST2, _PIKE),
}
NUISANCES = {
    "easy": Nuisance(durations=0.25, jitter=0.03, track=0.95, scale=0.08, light=0.08, noise=2.0),
    "default": Nuisance(durations=0.50, jitter=0.03, track=0.95, scale=0.08, light=0.08, noise=3.0),
    "mid": Nuisance(durations=0.50, jitter=0.045, track=0.93, scale=0.11, light=0.12, noise=4.0),
    "medium": Nuisance(durations=0.50, jitter=0.06, track=0.90, scale=0.15, light=0.18, noise=5.0),
    "hard": Nuisance(durations=0.75, jitter=0.10, track=0.85, scale=0.22, light=0.30, noise=9.0),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticDivingConfig(Settings):
    """A set of rendered dives. A video depends on (seed, split, class, index) and the nuisance, nothing else."""

    class_set: str | Sequence[str] = setting("demo6", "demo6 | dev12 | a list of classes such as [F:S25t, B:S25p]")
    train_per_class: int = setting(40, "videos rendered for each class for the pool of the label split", at_least=1)
    test_per_class: int = setting(15, "videos rendered for each class for the test", at_least=0)
    nuisance: Literal["easy", "default", "mid", "medium", "hard"] = setting(
        "default", "strength of what varies inside a class"
    )
    seed: int = setting(0, "seed of the rendering, not of the label split", at_least=0)

    def check(self) -> None:
        """Refuse unknown classes and sets without two of them."""
        if isinstance(self.class_set, str) and self.class_set not in CLASS_SETS:
            raise BadSetting(
                "class_set", self.class_set, f"must be one of {', '.join(CLASS_SETS)}, or a list of classes"
            )
        names = self.class_names
        if len(names) < 2 or len(set(names)) != len(names):
            raise BadSetting("class_set", names, "must be at least two different classes; name each of them once")
        for name in names:
            parse_class(name)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Give the classes in label order."""
        return CLASS_SETS[self.class_set] if isinstance(self.class_set, str) else tuple(self.class_set)


def parse_class(name: str) -> tuple[Takeoff, tuple[Flight, ...]]:
    """Split `F:S25t` into take-off and flight. A handstand starts half a turn on, so its first phase is shorter."""
    start, _, program = name.partition(":")
    if start not in TAKEOFFS or program not in PROGRAMS:
        known = f"take-off one of {', '.join(TAKEOFFS)}, program one of {', '.join(PROGRAMS)}"
        raise BadSetting("class_set", name, f"no such class; write <take-off>:<program>, {known}")
    takeoff, flights = TAKEOFFS[start], PROGRAMS[program]
    if takeoff.handstand:
        first = Flight(somersaults=flights[0].somersaults - 0.5, twists=flights[0].twists, pose=flights[0].pose)
        flights = (first, *flights[1:])
    return takeoff, flights
