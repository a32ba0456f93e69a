"""What is known of the trials of a sweep: the record that samplers, tables and the report read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OPEN = "open"
RUNNING = "running"
COMPLETED = "completed"
PRUNED = "pruned"
FAILED = "failed"
GIVEN_UP = "given_up"
CANCELLED = "cancelled"
SEALED = (COMPLETED, PRUNED, FAILED, GIVEN_UP, CANCELLED)
"""States with a sealed result: no worker takes such a trial again, unless somebody asks for a retry."""


@dataclass(frozen=True)
class Objective:
    """A metric that a sweep makes small or large."""

    metric: str
    direction: str
    """``minimize`` or ``maximize``, as Optuna calls them."""

    @property
    def sign(self) -> float:
        """Return what to multiply values with so that less is better."""
        return 1.0 if self.direction == "minimize" else -1.0


@dataclass(frozen=True)
class Trial:
    """One trial: one run of one setting, with one seed or fold."""

    number: int
    """Counted from 0."""
    setting: int
    """Trials of one setting differ only in what is repeated: the seed, or the fold of a cross validation."""
    state: str
    params: Mapping[str, str]
    """Every parameter that varies, conditional ones only where they exist, as text that the command line takes."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """All final metrics of all phases; NaN where a phase measured NaN."""
    values: tuple[float, ...] | None = None
    """Of the objectives, finite; None unless completed, and for a sweep without objectives."""
    intermediate: Mapping[int, float] = field(default_factory=dict)
    """The first objective's metric after each epoch, counted from 0, where it was logged."""
    seconds: float = 0.0
    """Time on the clock over all attempts."""
    attempts: int = 0
    reason: str = ""
    """Why the trial failed or was given up; empty otherwise."""
    epoch: int = 0
    """Finished epochs."""

    @property
    def is_sealed(self) -> bool:
        """Whether the trial has come to an end."""
        return self.state in SEALED

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads; NaN and infinity become text."""
        return {
            "number": self.number,
            "setting": self.setting,
            "state": self.state,
            "params": dict(self.params),
            "metrics": {name: _number_to_json(value) for name, value in self.metrics.items()},
            "values": None if self.values is None else list(self.values),
            "intermediate": [[epoch, _number_to_json(value)] for epoch, value in self.intermediate.items()],
            "seconds": round(self.seconds, 3),
            "attempts": self.attempts,
            "reason": self.reason,
            "epoch": self.epoch,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Trial:
        """Return the trial that :meth:`to_json` wrote."""
        return cls(
            number=int(body["number"]),
            setting=int(body["setting"]),
            state=str(body["state"]),
            params={str(name): str(value) for name, value in body["params"].items()},
            metrics={str(name): float(value) for name, value in body["metrics"].items()},
            values=None if body["values"] is None else tuple(float(value) for value in body["values"]),
            intermediate={int(epoch): float(value) for epoch, value in body["intermediate"]},
            seconds=float(body["seconds"]),
            attempts=int(body["attempts"]),
            reason=str(body["reason"]),
            epoch=int(body["epoch"]),
        )


def best_trials(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Trial]:
    """Return the completed trials that no other is better than in all objectives: the best one, or the Pareto front.

    With one objective the lowest number wins a tie; with several the front is in the order of the first objective.
    Trials without values, or with one that is not finite, are never best.
    """
    signs = [each.sign for each in objectives]
    done = [
        (tuple(sign * value for sign, value in zip(signs, trial.values, strict=True)), trial)
        for trial in trials
        if trial.state == COMPLETED and trial.values and all(map(math.isfinite, trial.values))
    ]
    done.sort(key=lambda each: (each[0], each[1].number))
    front: list[tuple[tuple[float, ...], Trial]] = []
    for values, trial in done:
        if not any(_dominates(other, values) for other, _ in front):
            front.append((values, trial))
    return [trial for _, trial in (front[:1] if len(signs) == 1 else front)]


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


def _number_to_json(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
