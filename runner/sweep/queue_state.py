"""Which trial of which sweep comes next, as far as one supervisor can see."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from runner.errors import RunnerError
from runner.sweep.history import History
from runner.sweep.objective_values import read_json
from runner.sweep.plan import SweepPlan
from runner.sweep.sweep_folder import SweepFolder
from runner.sweep.trials import FAILED, GIVEN_UP, Trial

LEFT_ALONE_SECONDS = 3.0
"""How long a trial that another process began must have lain there without a worker before it is taken up."""

EQUAL_FAILURES = 5
"""So many failures in a row for the same reason pause the sweep: the next ones would only fail as well."""

REFRESH_SECONDS = 1.0


@dataclass(frozen=True)
class _Deaths:
    """How often the worker of a trial has died in a row without having begun an attempt."""

    count: int
    begun: int | None
    """Attempts that had begun by then. Those that get that far are counted by the trial itself."""


class SweepState:
    """One sweep in the eyes of one supervisor."""

    def __init__(self, folder: SweepFolder) -> None:
        self.folder = folder
        with suppress(OSError):  # a folder that cannot be written can be looked at
            folder.clean()
        self._load_plan()
        self.sequence = folder.sequence
        self.control = folder.read_control()
        self.own: set[int] = set()
        """Trials that workers of this supervisor are at."""
        self.has_worked = False
        """Whether a worker of this supervisor was at one of its trials."""
        self.failures = 0
        """Trials that failed under this supervisor."""
        self._streak: list[str] = []
        self._free_since: dict[int, float] = {}
        self._deaths: dict[int, _Deaths] = {}
        self._held = ""
        self._next_new = 0
        self._refreshed = -float("inf")
        self._interval = REFRESH_SECONDS

    def refresh(self, *, at_once: bool = False) -> None:
        """Look at the folder again, if that was not done just now."""
        now = time.monotonic()
        if not at_once and now - self._refreshed < self._interval:
            return
        self._look_at_control()
        self.history.refresh()
        if self.folder.has_plan(self._num_plans + 1):  # after the results, which must not seem to be all
            self._load_plan()
            self.history.refresh()
        self._refreshed = time.monotonic()
        self._interval = max(REFRESH_SECONDS, 20 * (self._refreshed - now))  # at most 5 % of the time

    def _load_plan(self) -> None:
        self._num_plans = len(self.folder.read_plans())
        self.plan = SweepPlan.of(self.folder)
        self.history = History(self.folder, self.plan)

    def _look_at_control(self) -> None:
        control = self.folder.read_control()
        if control.is_open and not self.control.is_open and not self._held:  # what was wrong is mended
            self.failures, self._streak = 0, []
            self._deaths.clear()
        self.control = replace(control, paused=control.paused or self._held)

    def adopted(self) -> list[int]:
        """Return the trials that run without a worker of this supervisor."""
        begun = self.history.started - self.history.sealed.keys() - self.own
        return [number for number in begun if self.folder.is_running(number)]

    def has_more(self) -> bool:
        """Tell whether a trial can be started now, or may have to be, when the worker that has it dies."""
        return self.control.is_open and len(self.history.sealed) < self.plan.total

    def next(self) -> int | None:
        """Return a trial to start a worker for, with its parameters written down; None if there is none now."""
        if not self.control.is_open:
            return None
        for number in sorted(self.history.started - self.history.sealed.keys() - self.own):
            if number < self.plan.total and self._is_left_alone(number):
                if self.folder.read_point(number) is None:  # a kill came between its folder and its parameters
                    self._choose(number)
                return number
        return self._choose(None) if self._first_new() is not None else None

    def took(self, number: int) -> None:
        """Note that a worker of this supervisor is at a trial."""
        self.own.add(number)
        self.has_worked = True
        self.history.started.add(number)

    def ended(self, number: int, *, has_died: bool) -> Trial | None:
        """Note that the worker of a trial has ended; return the trial if that has a result.

        Args:
            number: The trial.
            has_died: Whether the worker ended without saying why.
        """
        self.own.discard(number)
        self.refresh(at_once=True)
        if number not in self.history.sealed:
            begun = read_json(self.folder.attempts(number)).get("attempts")
            before = self._deaths.get(number)
            deaths = before.count + has_died if before is not None and before.begun == begun else int(has_died)
            self._deaths[number] = _Deaths(deaths, begun)
            self._free_since[number] = time.monotonic() - LEFT_ALONE_SECONDS + 0.1 * 2 ** min(6, deaths)
            return None
        self._deaths.pop(number, None)
        trial = next((each for each in self.history.results() if each.number == number), None)
        if trial is None:  # somebody retries it already
            return None
        is_failure = trial.state in (FAILED, GIVEN_UP)
        self.failures += is_failure
        self._streak = [*self._streak, trial.reason] if is_failure else []
        return trial

    def reason_to_pause(self) -> str:
        """Return why it makes no sense to start more trials; empty if it does."""
        last = self._streak[-EQUAL_FAILURES:]
        if len(last) == EQUAL_FAILURES and len(set(last)) == 1:
            return f"{EQUAL_FAILURES} trials in a row failed for the same reason: {last[0]}"
        for number, deaths in self._deaths.items():
            if deaths.count > 2 * EQUAL_FAILURES:
                return f"trial {number} cannot even be started; see {self.folder.console(number)}"
        return ""

    def pause(self, reason: str) -> None:
        """Let no supervisor start another trial; this one only where that cannot be written down."""
        try:
            self.control = self.folder.change_control(paused=reason)
        except OSError as error:
            self.hold(error)

    def hold(self, error: OSError) -> None:
        """Start no more trials here since the folder cannot be written."""
        self._held = f"its folder cannot be written: {error.strerror or error}"
        self.control = replace(self.control, paused=self.control.paused or self._held)

    def _is_left_alone(self, number: int) -> bool:
        """Tell whether a trial that was begun has had no worker for a while, by our own clock."""
        if self.folder.is_running(number):
            self._free_since.pop(number, None)
            return False
        since = self._free_since.setdefault(number, time.monotonic())
        return time.monotonic() - since >= LEFT_ALONE_SECONDS

    def _first_new(self) -> int | None:
        taken = self.history.started
        while self._next_new < self.plan.total and (self._next_new in taken or self._next_new in self.history.sealed):
            self._next_new += 1
        return self._next_new if self._next_new < self.plan.total else None

    def _choose(self, number: int | None) -> int | None:
        """Write down the parameters of a trial, None for the next new one, while nobody else does that."""
        with self.folder.locked():
            self.history.refresh()
            number = self._first_new() if number is None else number
            if number is None or number in self.history.sealed:
                return None
            setting = number // len(self.plan.repeats)
            params, known = self._params(number, setting)
            self.folder.begin(number, setting, params, known)
            self.history.started.add(number)
        return number

    def _params(self, number: int, setting: int) -> tuple[dict[str, str], Sequence[int]]:
        if not self.plan.is_adaptive:
            return self.plan.params(number), []
        repeats = len(self.plan.repeats)
        for other in range(setting * repeats, (setting + 1) * repeats):
            begun = self.folder.read_point(other) if other != number else None
            if begun is not None:  # with another seed or fold
                repeated = {name for repeat in self.plan.repeats for name in repeat}
                same = {name: value for name, value in begun["params"].items() if name not in repeated}
                return same | dict(self.plan.repeats[number % repeats]), begun["known"]
        history = self.history.settings()
        known = [each.number for each in history if each.state != "running"]
        return self.plan.params(number, history), known


class Queue:
    """The sweeps that a supervisor serves, in the order in which they are served."""

    def __init__(self, find: Callable[[], Sequence[SweepFolder]]) -> None:
        """Take a function that returns the sweeps there are, which may be others each time."""
        self._find = find
        self._states: dict[str, SweepState] = {}
        self.unreadable: dict[str, str] = {}
        """Sweeps that cannot be served, and why."""

    def states(self) -> list[SweepState]:
        """Return the sweeps: those with a higher priority first, then those that came first."""
        for folder in self._find():
            key = str(folder.path)
            if key not in self._states and key not in self.unreadable:
                try:
                    state = SweepState(folder)
                    state.plan.refuse_code_beside(folder)
                    self._states[key] = state
                except (RunnerError, OSError) as error:
                    self.unreadable[key] = str(error)
        for state in list(self._states.values()):
            with self.serving(state):
                state.refresh()
        return sorted(self._states.values(), key=lambda state: (-state.control.priority, state.sequence))

    def next(self) -> tuple[SweepState, int] | None:
        """Return the next trial to start a worker for."""
        for state in self.states():
            with self.serving(state):
                number = state.next()
                if number is not None:
                    return state, number
        return None

    @contextmanager
    def serving(self, state: SweepState) -> Iterator[None]:
        """Leave a sweep alone whose folder turns out to be damaged, removed or full; the others go on."""
        try:
            yield
        except (RunnerError, FileNotFoundError) as error:
            self.unreadable[str(state.folder.path)] = str(error)
            self._states.pop(str(state.folder.path), None)
        except OSError as error:
            state.hold(error)

    def has_more(self) -> bool:
        """Tell whether there is, or may be, something left to do."""
        return any(state.has_more() for state in self.states())
