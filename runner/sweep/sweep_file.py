"""What a user asks of a sweep: from YAML, from the container, and from ``--sweep name=values``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner import strict_yaml
from runner.config_files import find_config
from runner.errors import ConfigFileError, UsageError, did_you_mean
from runner.metric_modes import mode_of
from runner.strict_yaml import ListNode, MappingNode, Node, Scalar
from runner.sweep.axis_nodes import Entry, Source, node_from_python, node_text, read_dimension, texts
from runner.sweep.dimensions import Dimension
from runner.sweep.expressions import parse_axis, sentence
from runner.sweep.space import SearchSpace, SpaceError
from runner.sweep.trials import Objective

SAMPLERS = ("grid", "random", "sobol", "tpe", "gp", "cmaes")
LEARNING_SAMPLERS = ("tpe", "gp", "cmaes")
"""Samplers that choose a setting by the results of others."""
DIRECTIONS = ("minimize", "maximize")
KEYS = (
    "parameters",
    "overrides",
    "sampler",
    "num_trials",
    "metric",
    "direction",
    "pruner",
    "repeats",
    "seed",
    "limits",
)
"""What a file may say."""
LIMITS = ("time", "max_failures")

_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) *([a-z]*)", re.ASCII)
_UNITS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class SweepSpec:
    """What a user asks for, checked as far as is possible without the container."""

    space: SearchSpace = field(default_factory=lambda: SearchSpace(()))
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Values of parameters that do not vary."""
    sampler: str = ""
    """One of :data:`SAMPLERS`; empty until :func:`completed` has chosen one."""
    num_trials: int | None = None
    """How many settings to try; None for all points of a grid."""
    objectives: tuple[Objective, ...] = ()
    pruner: tuple[str, dict[str, str]] | None = None
    """The pruner's name and options."""
    repeats: int = 1
    """With how many seeds each setting is run."""
    seed: int = 0
    """Of the sampler."""
    time: float | None = None
    """Seconds for the whole sweep."""
    max_failures: int | None = None
    """After so many failed trials the sweep pauses."""
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Where each key was read, for messages."""


def read_sweep_file(path: str, configs_folder: Path) -> SweepSpec:
    """Read a sweep from YAML.

    Args:
        path: A path, or the name of a file in ``sweeps/`` in *configs_folder*, with or without its suffix.
        configs_folder: Where bare names are looked up.

    Raises:
        ConfigFileError: the file is missing or no strict YAML, or a value is wrong; the message begins with its place.
    """
    file = find_config(path, Path(), configs_folder / "sweeps", place=f"--sweep={path}")
    source = Source(str(file))
    entries = source.entries(strict_yaml.read_file(file), "the file", KEYS)
    spec = SweepSpec(places={name: source.place(entry.line) for name, entry in entries.items()})
    if "parameters" in entries:
        parameters = source.entries(entries["parameters"].node, "parameters")
        spec = replace(spec, space=_space_of(parameters))
    if "overrides" in entries:
        spec = replace(spec, overrides=_overrides(source.entries(entries["overrides"].node, "overrides"), spec.space))
    if "limits" in entries:
        entries |= source.entries(entries["limits"].node, "limits", LIMITS)
    return _with_settings(spec, entries)


def spec_from_mapping(space: Mapping[str, Any], place: str) -> SweepSpec:
    """Return a sweep over what a container's ``get_parameter_search_space()`` returned.

    Args:
        space: Name to a list of values, a text such as ``log(1e-4,1e-1)``, or a mapping such as
            ``{"low": 1, "high": 8, "int": True, "when": {"optimizer": ["adam"]}}``.
        place: How messages begin.

    Raises:
        ConfigFileError: a value is none of these.
    """
    source = Source(place, has_lines=False)
    if not isinstance(space, Mapping):
        raise ConfigFileError(f"{place}: a mapping of names to values is needed, not a {type(space).__name__}.")
    nodes = []
    for name, value in space.items():
        try:
            nodes.append((Scalar(str(name), quoted=True), node_from_python(value)))
        except ValueError as error:
            raise ConfigFileError(f"{place}: {name}: {sentence(error)}") from None
    return SweepSpec(_space_of(source.entries(MappingNode(tuple(nodes)), "it")))


def with_axes(spec: SweepSpec | None, axes: Mapping[str, str], over: SweepSpec | None = None) -> SweepSpec:
    """Add dimensions to a sweep. Where it has them already they are replaced; their conditions stay.

    Args:
        spec: The sweep; None for an empty one.
        axes: Name to what was typed after ``--sweep name=``.
        over: A sweep whose dimensions are added before *axes*, and whose settings count instead of those of *spec*.

    Raises:
        UsageError: a text cannot be read, or a condition no longer fits.
    """
    spec = spec or SweepSpec()
    added = [*(over.space.dimensions if over else ()), *(parse_axis(name, text) for name, text in axes.items())]
    by_name = {each.name: each for each in spec.space.dimensions}
    for each in added:
        before = by_name.get(each.name)
        by_name[each.name] = replace(each, condition=each.condition or (before.condition if before else None))
    try:
        space = SearchSpace(tuple(by_name.values()))
    except SpaceError as error:
        raise UsageError(f"--sweep: {sentence(error)}") from None
    result = over or spec
    return replace(
        result, space=space, overrides={name: text for name, text in result.overrides.items() if name not in by_name}
    )


def with_options(spec: SweepSpec, options: Mapping[str, str | None]) -> SweepSpec:
    """Put options of the command line in place of what a file says, and choose the sampler if nobody has.

    Args:
        spec: The sweep.
        options: Flags such as ``sweep_sampler``, ``sweep_metric`` or ``max_failures`` with their texts; None is left
            out. Several metrics and directions have commas between them.

    Raises:
        UsageError: a value is wrong, or something is missing that the sampler or the pruner needs.
    """
    entries = {}
    for flag, text in options.items():
        if text is not None:
            key, source = flag.removeprefix("sweep_"), Source(f"--{flag}={text}", has_lines=False)
            entries[key] = Entry(key, _option_node(key, text), 1, source)
    places = {key: entry.source.name for key, entry in entries.items()}
    return completed(_with_settings(replace(spec, places={**spec.places, **places}), entries))


def _option_node(key: str, text: str) -> Node:
    if key not in ("metric", "direction"):
        return Scalar(text, quoted=True)
    return ListNode(tuple(Scalar(each.strip(), quoted=True) for each in text.split(",")))


def completed(spec: SweepSpec) -> SweepSpec:
    """Return the sweep with a sampler: a grid where all dimensions have steps and no number of trials is given.

    Raises:
        UsageError: something is missing that the sampler or the pruner needs.
    """
    continuous = next((each for each in spec.space.dimensions if each.num_values is None), None)
    is_grid = continuous is None and spec.num_trials is None
    sampler = spec.sampler or ("grid" if is_grid else "random")
    place = spec.places.get("sampler", "--sweep")
    if sampler == "grid":
        _check_grid(spec, continuous, place)
    elif not spec.space.dimensions:
        raise UsageError(f"{place}: sampler {sampler}, but there are no parameters that vary.")
    elif spec.num_trials is None:
        why = f", because {_shown(continuous)} has no steps" if continuous and not spec.sampler else ""
        raise UsageError(f"{place}: sampler {sampler} needs num_trials (--sweep_num_trials=NUMBER){why}.")
    needing = f"sampler {sampler}" if sampler in LEARNING_SAMPLERS else "a pruner" if spec.pruner else None
    if needing and not spec.objectives:
        place = place if sampler in LEARNING_SAMPLERS else spec.places.get("pruner", "--sweep")
        raise UsageError(f"{place}: {needing} needs a metric (--sweep_metric=NAME).")
    return replace(spec, sampler=sampler)


def seconds_from_text(text: str) -> float:
    """Read a time such as ``90min``, ``2h`` or ``3600``.

    Raises:
        ValueError: it is none.
    """
    match = _TIME.fullmatch(text.strip().lower())
    if not match or match[2] not in _UNITS or not float(match[1]):
        raise ValueError(f"{text!r} is no time such as 90min, 2h or 3600 (seconds)")
    return float(match[1]) * _UNITS[match[2]]


def _check_grid(spec: SweepSpec, continuous: Dimension | None, place: str) -> None:
    if continuous is not None:
        others = ", ".join(SAMPLERS[1:])
        raise UsageError(
            f"{place}: a grid needs steps, and {_shown(continuous)} has none: add one, as in 0..1:0.25, or choose "
            f"another sampler: {others}."
        )
    if spec.num_trials is not None:
        place, count = spec.places.get("num_trials", "--sweep"), spec.space.num_points
        raise UsageError(f"{place}: a grid tries all its {count} points: leave num_trials out, or take sampler random.")


def _shown(dimension: Dimension) -> str:
    return f"{dimension.name}={dimension.describe()}"


# --- reading ----------------------------------------------------------------------------------------------------------


def _space_of(entries: Mapping[str, Entry]) -> SearchSpace:
    try:
        return SearchSpace(tuple(map(read_dimension, entries.values())))
    except SpaceError as error:
        entry = entries[error.parameter]
        raise ConfigFileError(f"{entry.source.place(entry.line)}: {sentence(error)}") from None


def _overrides(entries: Mapping[str, Entry], space: SearchSpace) -> dict[str, str]:
    varied = {dimension.name for dimension in space.dimensions}
    for entry in entries.values():
        if entry.name in varied:
            raise entry.error(ValueError("it is fixed here, and among the parameters that vary: leave one of them out"))
    return {name: _read(entry, node_text) for name, entry in entries.items()}


def _with_settings(spec: SweepSpec, entries: Mapping[str, Entry]) -> SweepSpec:
    changes = {key: _read(entries[key], reader) for key, reader in _READERS.items() if key in entries}
    objectives = _objectives(spec.objectives, entries.get("metric"), entries.get("direction"))
    return replace(spec, objectives=objectives, **changes)


def _read(entry: Entry, reader: Callable[[Node], Any]) -> Any:
    try:
        return reader(entry.node)
    except ValueError as error:
        raise entry.error(error) from None


def _objectives(before: tuple[Objective, ...], metric: Entry | None, direction: Entry | None) -> tuple[Objective, ...]:
    if metric is None and direction is None:
        return before
    metrics = _read(metric, _metrics) if metric else tuple(each.metric for each in before)
    if direction is None:
        return tuple(Objective(each, "maximize" if mode_of(each) == "max" else "minimize") for each in metrics)
    directions = _read(direction, _directions)
    if not metrics:
        raise direction.error(ValueError("there is no metric that it could be for"))
    if len(metrics) != len(directions):
        raise direction.error(ValueError(f"each metric needs a direction: {len(metrics)} and {len(directions)}"))
    return tuple(map(Objective, metrics, directions))


def _metrics(node: Node) -> tuple[str, ...]:
    metrics = texts(node)
    if not metrics or not all(metrics):
        raise ValueError("the name of a metric is needed")
    twice = [each for each in metrics if metrics.count(each) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is there twice")
    return metrics


def _directions(node: Node) -> tuple[str, ...]:
    return tuple(_one_of(DIRECTIONS, each) for each in texts(node))


def _sampler(node: Node) -> str:
    return _one_of(SAMPLERS, node_text(node))


def _one_of(words: Iterable[str], text: str) -> str:
    if text not in words:
        raise ValueError(f"{text} is none of {', '.join(words)}.{did_you_mean(text, words)}")
    return text


def _pruner(node: Node) -> tuple[str, dict[str, str]]:
    if not isinstance(node, MappingNode):
        return node_text(node), {}
    options = {key.text: node_text(value) for key, value in node.items}
    if "name" not in options:
        raise ValueError("name is missing, such as name: median")
    return options.pop("name"), options


def _whole(least: int) -> Callable[[Node], int]:
    def read(node: Node) -> int:
        text = node_text(node)
        if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or int(text) < least:
            raise ValueError(f"{text} is no int >= {least}")
        return int(text)

    return read


def _time(node: Node) -> float:
    return seconds_from_text(node_text(node))


_READERS: Mapping[str, Callable[[Node], Any]] = {
    "sampler": _sampler,
    "num_trials": _whole(1),
    "pruner": _pruner,
    "repeats": _whole(1),
    "seed": _whole(0),
    "time": _time,
    "max_failures": _whole(1),
}
