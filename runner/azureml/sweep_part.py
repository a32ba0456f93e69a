"""A sweep in AzureML's words: what differs from a job of a single run.

Whatever would be another sweep there is refused. See
https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-sweep.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from runner.azureml.carried import refuse_placeholder, refuse_secret
from runner.command_line import Override
from runner.errors import UsageError
from runner.sweep.dimensions import Dimension
from runner.sweep.plan import SweepPlan
from runner.sweep.pruners import PrunerSpec
from runner.sweep.request import Wanted
from runner.sweep.trials import Objective

MOST_TRIALS = 1000
"""That AzureML takes, and values of one parameter that are written down."""

_SAMPLERS = "AzureML has grid, random, sobol and gp (its own Bayesian sampler)"
_PRUNER_OPTIONS = {"n_warmup_steps": "delay_evaluation", "interval_steps": "evaluation_interval"}


def sweep_part(wanted: Wanted, *, workers: int | None, trial_timeout: float | None) -> dict[str, Any]:
    """Return sampler, search space, objective, limits and early termination of a sweep job.

    Args:
        wanted: The sweep.
        workers: Trials at a time; None for AzureML's choice.
        trial_timeout: Seconds for each trial.

    Raises:
        UsageError: AzureML has no such thing; the message says what it has.
    """
    plan = wanted.plan
    if wanted.max_failures is not None:
        raise UsageError("--azureml: AzureML's sweeps have no max_failures; leave it out.")
    if plan.total > MOST_TRIALS:
        raise UsageError(f"--azureml: {plan.total} trials; AzureML's sweeps have at most {MOST_TRIALS}.")
    limits = {
        "max_total_trials": plan.total,
        "max_concurrent_trials": workers,
        "timeout": _whole_seconds(wanted.time),
        "trial_timeout": _whole_seconds(trial_timeout),
    }
    part = {
        "sampling_algorithm": _sampler(plan),
        "search_space": _search_space(plan),
        "objective": _objective(plan.objectives),
        "limits": {name: number for name, number in limits.items() if number is not None},
    }
    return part | ({"early_termination": _early_termination(plan)} if plan.pruner else {})


def _whole_seconds(seconds: float | None) -> int | None:
    return None if seconds is None else math.ceil(seconds)


def _sampler(plan: SweepPlan) -> dict[str, Any]:
    if plan.sampler == "grid":
        return {"type": "grid"}
    if plan.sampler in ("random", "sobol"):
        return {"type": "random", "rule": plan.sampler, "seed": plan.seed}
    if plan.sampler == "gp":
        return {"type": "bayesian"}
    raise UsageError(f"--azureml: there is no sampler {plan.sampler}: {_SAMPLERS}.")


def _search_space(plan: SweepPlan) -> dict[str, Any]:
    [space] = plan.spaces
    found = {each.name: _distribution(each, plan.sampler) for each in space.dimensions}
    if len(plan.repeats) > 1 and plan.sampler != "grid":
        raise UsageError(
            f"--azureml: with the sampler {plan.sampler}, AzureML cannot run each setting with several seeds or folds; "
            "only a grid can."
        )
    for repeat in plan.repeats:
        for name, text in repeat.items():
            values = found.setdefault(name, {"type": "choice", "values": []})["values"]
            values += [text] if text not in values else []
    return found


def _distribution(dimension: Dimension, sampler: str) -> dict[str, Any]:
    """Return the values of one parameter; as text, so that the command gets what was typed."""
    what = f"--azureml: {dimension.name}={dimension.describe()}"
    if dimension.condition is not None:
        raise UsageError(f"{what}: a parameter that exists only under a condition has no form in AzureML.")
    if dimension.num_values is None:
        if dimension.log and sampler == "gp":
            raise UsageError(f"{what}: AzureML's Bayesian sampler takes no log scale; take random or sobol.")
        low, high = map(float, dimension.ends)
        if dimension.log:  # AzureML's ends are exponents
            return {"type": "loguniform", "min_value": math.log(low), "max_value": math.log(high)}
        return {"type": "uniform", "min_value": low, "max_value": high}
    if dimension.log:
        raise UsageError(f"{what}: whole numbers on a log scale have no form in AzureML; give a list of values.")
    if dimension.num_values > MOST_TRIALS:
        raise UsageError(f"{what}: more than {MOST_TRIALS} values; give larger steps.")
    values = [dimension.value(index) for index in range(dimension.num_values)]
    for value in values:
        refuse_placeholder(value)
        refuse_secret(Override(dimension.name, value, dimension.name))
        if "'" in value:
            raise UsageError(f"--azureml: {dimension.name}={value}: a value of a sweep cannot hold a quote there.")
    return {"type": "choice", "values": values}


def _objective(objectives: Sequence[Objective]) -> Mapping[str, str]:
    if len(objectives) != 1:
        raise UsageError("--azureml: AzureML's sweeps have exactly one metric: --sweep_metric=val_loss.")
    refuse_placeholder(objectives[0].metric)
    return {"goal": objectives[0].direction, "primary_metric": objectives[0].metric}


def _early_termination(plan: SweepPlan) -> Mapping[str, Any]:
    pruner: PrunerSpec | None = plan.pruner
    assert pruner is not None
    unknown = [name for name in pruner.options if name not in _PRUNER_OPTIONS]
    if pruner.name != "median" or unknown or plan.sampler == "gp":
        raise UsageError(
            f"--azureml: the pruner {pruner.name}{f' with {unknown[0]}' if unknown else ''} has no form in AzureML: it "
            "has median with n_warmup_steps and interval_steps, and none beside the sampler gp."
        )
    numbers = {theirs: pruner.number(ours) for ours, theirs in _PRUNER_OPTIONS.items()}
    return {"type": "median_stopping", **numbers}
