"""What a sweep does, sealed when it is made: its space, sampler, seeds, fixed values and the code it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from runner.command_line import Override
from runner.errors import UsageError
from runner.preparation import Plan, is_code_elsewhere
from runner.sealed_files import digest
from runner.sweep.pruners import PrunerSpec
from runner.sweep.samplers import Sampler, create_sampler
from runner.sweep.space import SearchSpace
from runner.sweep.sweep_folder import SweepFolder
from runner.sweep.trials import Objective
from runner.version import __version__

SCHEMA = 1


@dataclass(frozen=True)
class SweepPlan:
    """The plan of a sweep.

    Trial n is setting ``n // len(repeats)`` with the values of ``repeats[n % len(repeats)]``.
    """

    model: str
    """What ``--model`` must be to find the container."""
    container_name: str
    containers: str
    """Absolute path of the folder to look in."""
    namespace: str | None
    code: str
    """Digest of the container's code."""
    fixed: Mapping[str, str]
    """Values of parameters that do not vary, as text."""
    spaces: tuple[SearchSpace, ...]
    """What the settings are drawn from: for a grid the first and what was added to it, else a single one."""
    sampler: str
    seed: int
    num_trials: int | None
    """Settings to try; None for all points of a grid."""
    repeats: tuple[Mapping[str, str], ...]
    """Seeds or folds that each setting is run with; a single empty one for none."""
    objectives: tuple[Objective, ...]
    pruner: PrunerSpec | None

    @property
    def num_settings(self) -> int:
        """How many settings there are."""
        if self.num_trials is not None:
            return self.num_trials
        return sum(space.num_points or 0 for space in self.spaces)

    @property
    def total(self) -> int:
        """How many trials there are."""
        return self.num_settings * len(self.repeats)

    @property
    def varied(self) -> list[str]:
        """The names of the parameters that vary, those that are repeated last."""
        names = [dimension.name for dimension in self.spaces[0].dimensions]
        return list(dict.fromkeys([*names, *(name for repeat in self.repeats for name in repeat)]))

    @cached_property
    def sampler_object(self) -> Sampler:
        """What chooses the settings."""
        return create_sampler(self.sampler, self.spaces[0], self.objectives, self.seed)

    @property
    def is_adaptive(self) -> bool:
        """Whether settings depend on the results of others."""
        return self.sampler_object.is_adaptive

    def params(self, number: int, history: Sequence[Any] = ()) -> dict[str, str]:
        """Return what varies in a trial; *history* holds the settings before, for samplers that learn."""
        setting, repeat = divmod(number, len(self.repeats))
        if self.sampler != "grid":
            return self.sampler_object.suggest(setting, history) | dict(self.repeats[repeat])
        for space in self.spaces:
            count = space.num_points or 0
            if setting < count:
                return space.point(setting) | dict(self.repeats[repeat])
            setting -= count
        raise IndexError(number)

    def run_plan(self, params: Mapping[str, str], command_line: Sequence[str] = ()) -> Plan:
        """Return what the runner needs for a trial with *params*."""
        values = dict(self.fixed) | dict(params)
        return Plan(
            model=self.model,
            containers=Path(self.containers),
            namespace=self.namespace,
            overrides=[Override(name, value, name) for name, value in values.items()],
            command_line=command_line,
        )

    def refuse_code_beside(self, folder: SweepFolder) -> None:
        """Refuse a sweep that somebody else has made to run code out of its own folder.

        Raises:
            UsageError: the container is named as no sweep names it, or lies in the folder.
        """
        is_looked_up = self.model.isidentifier() and self.namespace is not None  # what was found so has a file
        if is_looked_up or not is_code_elsewhere(self.model, Path(self.containers), folder.path):
            raise UsageError(
                f"its plan names the container {self.model}, which no sweep has written there; its code is not run. "
                "Make a sweep of your own with --sweep."
            )

    def identity(self) -> str:
        """Return a digest of all that must be the same for two commands to mean the same sweep."""
        body = self.to_json()
        del body["version"]
        return digest(body)

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads."""
        return {
            "schema": SCHEMA,
            "version": __version__,
            "model": self.model,
            "container_name": self.container_name,
            "containers": self.containers,
            "namespace": self.namespace,
            "code": self.code,
            "fixed": dict(self.fixed),
            "spaces": [space.to_json() for space in self.spaces],
            "sampler": self.sampler,
            "seed": self.seed,
            "num_trials": self.num_trials,
            "repeats": [dict(repeat) for repeat in self.repeats],
            "objectives": [asdict(each) for each in self.objectives],
            "pruner": self.pruner.to_json() if self.pruner else None,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> SweepPlan:
        """Return the plan that :meth:`to_json` wrote.

        Raises:
            UsageError: another version of Lightcase wrote it, in a form that this one does not know.
        """
        if body.get("schema") != SCHEMA:
            version = body.get("version")
            raise UsageError(f"The sweep was made by Lightcase {version}, whose plans this one cannot read.")
        return cls(
            model=body["model"],
            container_name=body["container_name"],
            containers=body["containers"],
            namespace=body["namespace"],
            code=body["code"],
            fixed=body["fixed"],
            spaces=tuple(SearchSpace.from_json(space) for space in body["spaces"]),
            sampler=body["sampler"],
            seed=body["seed"],
            num_trials=body["num_trials"],
            repeats=tuple(body["repeats"]),
            objectives=_objectives(body["objectives"]),
            pruner=PrunerSpec.from_json(body["pruner"]) if body["pruner"] else None,
        )

    @classmethod
    def of(cls, folder: SweepFolder) -> SweepPlan:
        """Return the plan of a sweep with all that was added to it.

        Raises:
            RunFailedError: a record is damaged.
        """
        return cls.each_of(folder)[-1]

    @classmethod
    def each_of(cls, folder: SweepFolder) -> list[SweepPlan]:
        """Return the plan as the sweep was made with, and as it was after each addition.

        Raises:
            RunFailedError: a record is damaged.
        """
        first, *added = folder.read_plans()
        plans = [cls.from_json(first)]
        for body in added:
            plans.append(
                replace(
                    plans[-1],
                    spaces=(*plans[-1].spaces, *(SearchSpace.from_json(space) for space in body["spaces"])),
                    num_trials=body["num_trials"],
                    objectives=_objectives(body["objectives"]),
                )
            )
        return plans

    def addition(self, spaces: Sequence[SearchSpace] = ()) -> dict[str, Any]:
        """Return the record by which a sweep with *spaces* added becomes this plan."""
        return {
            "spaces": [space.to_json() for space in spaces],
            "num_trials": self.num_trials,
            "objectives": [asdict(each) for each in self.objectives],
        }

    @property
    def learns(self) -> bool:
        """Whether the values of the objectives decide what is run, not only how results are ranked."""
        return self.is_adaptive or self.pruner is not None


def _objectives(body: Sequence[Mapping[str, str]]) -> tuple[Objective, ...]:
    return tuple(Objective(**each) for each in body)


def differences(one: SweepPlan, other: SweepPlan) -> list[str]:
    """Return in what *other* is not as *one*, a sentence each; an objective by which is only ranked is none."""
    ignored = {"spaces", "num_trials"} | (set() if one.learns or other.learns else {"objectives"})
    found = []
    for field in fields(SweepPlan):
        if field.name in ignored:
            continue
        before, after = getattr(one, field.name), getattr(other, field.name)
        if field.name == "fixed":
            found += _changed_values(before, after)
        elif field.name == "code" and before != after:
            found.append("the code of the container has changed")
        elif before != after:
            found.append(f"{field.name} was {before}, now {after}")
    return found


def _changed_values(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [f"{name} was {before.get(name, 'not set')}, now {after.get(name, 'not set')}" for name in names]
