"""What is known of a sweep's trials at this moment, read from its folder; sealed results are read only once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from runner.errors import RunFailedError
from runner.run_folder import RunFolder
from runner.sweep.objective_values import epoch_values, read_json, with_values
from runner.sweep.plan import SweepPlan
from runner.sweep.samplers import Setting
from runner.sweep.sweep_folder import SweepFolder
from runner.sweep.trials import COMPLETED, FAILED, GIVEN_UP, OPEN, PRUNED, RUNNING, Trial


@dataclass(frozen=True)
class _Result:
    order: int
    """How many trials had come to an end before."""
    sealed_as: str
    """The state in the name of the file."""
    trial: Trial
    code: str = ""
    """Digest of the container's code that the trial ran."""


class History:
    """The trials of a sweep."""

    def __init__(self, folder: SweepFolder, plan: SweepPlan) -> None:
        self.folder = folder
        self.plan = plan
        self.sealed: dict[int, str] = {}
        """States of the trials that came to an end, at the last :meth:`refresh`, as the names of their results say."""
        self.started: set[int] = set()
        self._results: dict[int, _Result] = {}
        self._is_ranked_anew = _is_ranked_anew(folder)

    def refresh(self) -> None:
        """Look at the folder again."""
        self.started = self.folder.started()  # before the results: a trial may come to its end in between
        self.sealed = self.folder.sealed()
        for number, result in list(self._results.items()):
            if self.sealed.get(number) != result.sealed_as:  # it is run again
                del self._results[number]

    def results(self) -> list[Trial]:
        """Return the trials that came to an end, in the order in which they did."""
        for number, state in self.sealed.items():
            if number not in self._results:
                with suppress(FileNotFoundError):  # somebody retries it at this moment
                    self._results[number] = self._read(number, state)
        return [result.trial for result in sorted(self._results.values(), key=lambda each: each.order)]

    def states(self) -> dict[int, str]:
        """Return the states of the trials that came to an end; one whose result is damaged has failed."""
        return {trial.number: trial.state for trial in self.results()}

    def failed(self) -> list[int]:
        """Return the trials that failed, were given up, or whose results are damaged."""
        return sorted(number for number, state in self.states().items() if state in (FAILED, GIVEN_UP))

    def _read(self, number: int, state: str) -> _Result:
        try:
            body = self.folder.read_result(number, state)
            trial = Trial.from_json(body)
            if trial.metrics and trial.state in (COMPLETED, FAILED) and self._is_ranked_anew:
                trial = with_values(trial, self.plan.objectives, RunFolder(self.folder.point(number)))
            return _Result(int(body["order"]), state, trial, str(body["code"]))
        except RunFailedError as error:  # told as what it is; the other results are as good as before
            point = self.folder.read_point(number) or {"setting": number // len(self.plan.repeats), "params": {}}
            return _Result(number, state, Trial(number, point["setting"], FAILED, point["params"], reason=str(error)))

    def other_code(self) -> list[int]:
        """Return the trials that ran other code of the container than the sweep was made with."""
        self.results()
        ours = ("", self.plan.code)
        return sorted(number for number, result in self._results.items() if result.code not in ours)

    def unfinished(self) -> list[Trial]:
        """Return the trials that were begun and have no result, as far as they have come."""
        found = []
        for number in sorted(self.started - self.sealed.keys()):
            point = self.folder.read_point(number)
            if point is not None:
                state = RUNNING if self.folder.is_running(number) else OPEN
                found.append(self._progress(Trial(number, point["setting"], state, point["params"])))
        return found

    def _progress(self, trial: Trial) -> Trial:
        folder = RunFolder(self.folder.point(trial.number))
        with suppress(OSError, ValueError):  # just being made
            status = read_json(folder.status)
            objective = self.plan.objectives[0].metric if self.plan.objectives else None
            trial = replace(
                trial,
                epoch=int(status.get("epochs_finished", 0)),
                seconds=float(status.get("uptime_seconds", 0.0)),
                attempts=int(status.get("attempts", 0)),
                intermediate=epoch_values(folder.metrics, objective) if objective else {},
            )
        return trial

    def trials(self) -> list[Trial]:
        """Return all trials that were begun or have a result, by number."""
        return sorted([*self.results(), *self.unfinished()], key=lambda trial: trial.number)

    def settings(self) -> list[Setting]:
        """Return what a sampler learns from, in the order in which the settings came to an end, then those that run.

        A setting with several seeds or folds has the mean of their values, as soon as all are there.
        """
        ended = _by_setting(self.results())
        running = _by_setting(self.unfinished())
        num_repeats = len(self.plan.repeats)
        repeated = {name for repeat in self.plan.repeats for name in repeat}
        settings = []
        for number in [*ended, *(number for number in running if number not in ended)]:
            trials = ended.get(number, [])
            state = _state(trials, num_repeats)
            settings.append(
                Setting(
                    number=number,
                    params=_without((trials or running[number])[0].params, repeated),
                    state=state,
                    values=_mean_values(trials) if state == COMPLETED else None,
                    intermediate=trials[0].intermediate if trials else {},
                )
            )
        return settings


def states_of(folder: SweepFolder) -> dict[int, str]:
    """Return the states of the trials that came to an end; results are read only where they were ranked anew."""
    if not _is_ranked_anew(folder):
        return folder.sealed()
    history = History(folder, SweepPlan.of(folder))
    history.refresh()
    return history.states()


def _is_ranked_anew(folder: SweepFolder) -> bool:
    """Tell whether results may have been sealed for other objectives than the sweep has now."""
    return folder.has_plan(2) and len({plan.objectives for plan in SweepPlan.each_of(folder)}) > 1


def _by_setting(trials: Iterable[Trial]) -> dict[int, list[Trial]]:
    found: dict[int, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.setting, []).append(trial)
    return found


def _state(trials: list[Trial], num_repeats: int) -> str:
    if len(trials) < num_repeats:
        return RUNNING
    states = {trial.state for trial in trials}
    if COMPLETED in states:
        return COMPLETED
    return PRUNED if PRUNED in states else FAILED


def _mean_values(trials: list[Trial]) -> tuple[float, ...] | None:
    found = [trial.values for trial in trials if trial.values is not None]
    if not found:
        return None
    return tuple(math.fsum(column) / len(found) for column in zip(*found, strict=True))


def _without(params: Mapping[str, str], names: set[str]) -> dict[str, str]:
    return {name: value for name, value in params.items() if name not in names}
