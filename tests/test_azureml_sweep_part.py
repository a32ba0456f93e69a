"""Sweeps in AzureML's words: what is translated, and what is refused because it would be another sweep."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest

from runner import LightningContainer
from runner.azureml.command import job_yaml
from runner.azureml.job import Place, sweep_job
from runner.azureml.sweep_part import sweep_part
from runner.azureml.workspace import checked_job
from runner.errors import UsageError
from runner.sweep.dimensions import Condition, Dimension
from runner.sweep.expressions import parse_axis
from runner.sweep.plan import SweepPlan
from runner.sweep.pruners import PrunerSpec
from runner.sweep.request import Wanted
from runner.sweep.space import SearchSpace
from runner.sweep.trials import Objective

needs_azure = pytest.mark.skipif(importlib.util.find_spec("azure") is None, reason="azure-ai-ml is not installed")


def part(*dimensions: Dimension, workers: int | None = None, **changes: Any) -> dict[str, Any]:
    """Return what the job says of a sweep over *dimensions*; by default a grid."""
    values: dict[str, Any] = {
        "sampler": "grid",
        "seed": 3,
        "num_trials": None,
        "repeats": ({},),
        "objectives": (Objective("val_loss", "minimize"),),
        "pruner": None,
        "time": None,
        "max_failures": None,
        "trial_timeout": None,
    } | changes
    time, max_failures, trial_timeout = (values.pop(name) for name in ("time", "max_failures", "trial_timeout"))
    space = SearchSpace(dimensions)
    plan = SweepPlan("Mine", "Mine", "containers", None, "", {}, (space,), **values)
    return sweep_part(Wanted(plan, time, max_failures), workers=workers, trial_timeout=trial_timeout)


@pytest.mark.parametrize(("name", "values"), [("api_key", "abc,def"), ("source", "s3://x,https://me:abc@example.org")])
def test_secrets_do_not_vary(name: str, values: str) -> None:
    """The job shows all values."""
    with pytest.raises(UsageError, match=f"--{name} is a secret, and everybody in the workspace can read") as caught:
        part(parse_axis(name, values))
    assert "abc" not in str(caught.value)


def test_a_grid() -> None:
    """Values are texts, as they were typed, also those of ranges; seeds and folds are further parameters."""
    repeats = tuple({"random_seed": s, "cross_validation_split_index": f} for s in ("1", "3") for f in ("0", "1"))
    found = part(parse_axis("l_rate", "1e-3,1e-2"), parse_axis("depth", "2..6:2"), repeats=repeats, workers=4)
    assert found == {
        "sampling_algorithm": {"type": "grid"},
        "search_space": {
            "l_rate": {"type": "choice", "values": ["1e-3", "1e-2"]},
            "depth": {"type": "choice", "values": ["2", "4", "6"]},
            "random_seed": {"type": "choice", "values": ["1", "3"]},
            "cross_validation_split_index": {"type": "choice", "values": ["0", "1"]},
        },
        "objective": {"goal": "minimize", "primary_metric": "val_loss"},
        "limits": {"max_total_trials": 2 * 3 * 4, "max_concurrent_trials": 4},
    }


def test_ranges_without_steps() -> None:
    """AzureML's loguniform has exponents as its ends."""
    axes = [parse_axis("l_rate", "log(1e-4,1e-1)"), parse_axis("dropout", "uniform(0,0.5)")]
    found = part(*axes, sampler="sobol", num_trials=8, time=5400.5, trial_timeout=60.0)
    assert found["sampling_algorithm"] == {"type": "random", "rule": "sobol", "seed": 3}
    rate = found["search_space"]["l_rate"]
    assert rate["type"] == "loguniform"
    assert [math.exp(rate[end]) for end in ("min_value", "max_value")] == pytest.approx([1e-4, 1e-1], rel=1e-12)
    assert found["search_space"]["dropout"] == {"type": "uniform", "min_value": 0.0, "max_value": 0.5}
    assert found["limits"] == {"max_total_trials": 8, "timeout": 5401, "trial_timeout": 60}


def test_the_median_pruner() -> None:
    """Its warm-up and interval are AzureML's delay and interval."""
    pruner = PrunerSpec("median", {"n_warmup_steps": 3})
    found = part(parse_axis("l_rate", "uniform(0,1)"), sampler="random", num_trials=4, pruner=pruner)
    assert found["early_termination"] == {"type": "median_stopping", "delay_evaluation": 3, "evaluation_interval": 1}


CHOICE = parse_axis("l_rate", "1e-3,1e-2")
RANGE = parse_axis("l_rate", "log(1e-4,1e-1)")
SEEDS = ({"random_seed": "1"}, {"random_seed": "2"})


@pytest.mark.parametrize(
    ("dimension", "changes", "message"),
    [
        (CHOICE, {"sampler": "tpe", "num_trials": 4}, "no sampler tpe: AzureML has grid, random, sobol and gp"),
        (CHOICE, {"objectives": ()}, "exactly one metric: --sweep_metric=val_loss"),
        (CHOICE, {"objectives": (Objective("a", "minimize"), Objective("b", "minimize"))}, "exactly one metric"),
        (CHOICE, {"max_failures": 3}, "no max_failures"),
        (RANGE, {"sampler": "random", "num_trials": 1001}, "1001 trials; AzureML's sweeps have at most 1000"),
        (CHOICE, {"sampler": "random", "num_trials": 2, "repeats": SEEDS}, "several seeds or folds; only a grid can"),
        (RANGE, {"sampler": "gp", "num_trials": 4}, "Bayesian sampler takes no log scale"),
        (parse_axis("depth", "int(2,64,log)"), {"sampler": "random", "num_trials": 4}, "whole numbers on a log scale"),
        (parse_axis("depth", "0..2000"), {"sampler": "random", "num_trials": 4}, "more than 1000 values"),
        (Dimension("note", ("it's",)), {}, "note=it's: a value of a sweep cannot hold a quote"),
        (Dimension("note", ("${{x}}",)), {}, "which AzureML replaces"),
        (CHOICE, {"pruner": PrunerSpec("asha")}, "the pruner asha has no form in AzureML"),
        (CHOICE, {"pruner": PrunerSpec("median", {"n_min_trials": 2})}, "median with n_min_trials has no form"),
        (CHOICE, {"pruner": PrunerSpec("median"), "sampler": "gp", "num_trials": 2}, "none beside the sampler gp"),
    ],
)
def test_what_azure_does_not_have(dimension: Dimension, changes: dict[str, Any], message: str) -> None:
    """The message says what it has."""
    with pytest.raises(UsageError, match=message):
        part(dimension, **changes)


def test_conditions_are_refused() -> None:
    """A parameter that exists only beside a value of another."""
    child = Dimension("momentum", ("0.5",), condition=Condition("optimizer", ("sgd",)))
    with pytest.raises(UsageError, match="only under a condition has no form in AzureML"):
        part(parse_axis("optimizer", "sgd,adam"), child)


@needs_azure
@pytest.mark.parametrize(
    "sweep",
    [
        part(CHOICE, repeats=SEEDS, workers=2),
        part(RANGE, sampler="random", num_trials=4, time=60.0, pruner=PrunerSpec("median")),
        part(CHOICE, parse_axis("depth", "int(2,8)"), sampler="gp", num_trials=4),
    ],
)
def test_azure_takes_the_sweep(tmp_path: Path, sweep: dict[str, Any]) -> None:
    """And reads back the same values, metric, limits and command."""
    mine = LightningContainer()  # type: ignore[no-untyped-call]
    mine.azure_dataset_id, mine.num_nodes, mine.devices = "a", 2, 4
    job = sweep_job(mine, ["python", "runner.py", "--tag=a b"], Place("gpu", "e", "x"), sweep)
    found: Any = checked_job(job_yaml(job), tmp_path)
    assert (found.type, found.experiment_name) == ("sweep", "x")
    expected = [f"'--{name}=${{{{search_space.{name}}}}}'" for name in sweep["search_space"]]
    folders = ["'--local_dataset=${{inputs.dataset}}'", "'--output_to=${{outputs.runs}}'"]
    command = " ".join(["python runner.py '--tag=a b'", *folders, *expected])
    assert found.trial.command == command
    assert found.trial.distribution.process_count_per_instance == 4
    assert found.objective.primary_metric == "val_loss"
    assert found.limits.max_total_trials == sweep["limits"]["max_total_trials"]
    assert found.sampling_algorithm.type == sweep["sampling_algorithm"]["type"]
    for name, space in sweep["search_space"].items():
        theirs = found.search_space[name]
        assert {key: getattr(theirs, key) for key in space} == space
    rest: Any = found._to_rest_object().properties  # what is sent
    assert set(rest.search_space) == set(sweep["search_space"])
