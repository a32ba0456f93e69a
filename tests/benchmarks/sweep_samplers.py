"""What learning from results is worth, and what it costs. Run: ``python tests/benchmarks/sweep_samplers.py``.

Samplers minimise a fixed function of four parameters, a rate and a width on a log scale, a share, and a choice that
moves the best rate. It is made like the losses of small trainings; its minimum is 0. Each sampler has the same number
of settings and the seeds from 0; ``--workers`` gives it results that late, as parallel workers do. The table has the
best value found: a seed is won by the lower one, and *p* is one-sided, by Mann and Whitney, for "lower than random".
A second table has the seconds for one more setting, by the number of settings before.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from scipy.stats import mannwhitneyu

sys.path.insert(0, str(Path(__file__).parents[2]))

from runner.sweep.samplers import Sampler, Setting, create_sampler
from runner.sweep.space import Dimension, SearchSpace
from runner.sweep.trials import Objective

SPACE = SearchSpace(
    (
        Dimension("rate", low=1e-5, high=1.0, log=True),
        Dimension("width", low=4, high=512, log=True, is_int=True),
        Dimension("dropout", low=0.0, high=0.9),
        Dimension("optimizer", values=("adam", "sgd", "rmsprop")),
    )
)
OBJECTIVES = (Objective("loss", "minimize"),)
BEST_RATE = {"adam": -3.0, "sgd": -1.0, "rmsprop": -3.5}
PENALTY = {"adam": 0.0, "sgd": 0.1, "rmsprop": 0.3}
HISTORIES = (50, 300, 1000)


def loss(params: Mapping[str, str]) -> float:
    """Return the value of the function, from 0."""
    optimizer = params["optimizer"]
    rate = math.log10(float(params["rate"])) - BEST_RATE[optimizer]
    width = math.log2(int(params["width"]) / 64)
    share = float(params["dropout"]) - 0.2 - 0.05 * width
    return PENALTY[optimizer] + rate**2 / 2 + width**2 / 20 + 3 * share**2


def settings(sampler: Sampler, count: int, workers: int) -> list[Setting]:
    """Return *count* settings, of which the last ``workers - 1`` always run when the next is chosen."""
    history: list[Setting] = []
    for number in range(count):
        history.append(Setting(number, sampler.suggest(number, history), "running"))
        late = number - workers + 1
        if late >= 0:
            history[late] = completed(history[late])
    return [completed(each) for each in history]


def completed(setting: Setting) -> Setting:
    """Return the setting with its result."""
    return replace(setting, state="completed", values=(loss(setting.params),))


def best_values(name: str, seeds: int, trials: int, workers: int) -> list[float]:
    """Return the best value for each seed."""
    found = []
    for seed in range(seeds):
        history = settings(create_sampler(name, SPACE, OBJECTIVES, seed), trials, workers)
        found.append(min(loss(each.params) for each in history))
    return found


def seconds_per_suggestion(name: str, count: int) -> float:
    """Return the time for one more setting after *count* random ones, the median of three."""
    history = settings(create_sampler("random", SPACE, (), 0), count, 1)
    sampler = create_sampler(name, SPACE, OBJECTIVES, 0)
    sampler.suggest(0, history[:20])  # imports
    times = []
    for number in range(count, count + 3):
        start = time.perf_counter()
        sampler.suggest(number, history)
        times.append(time.perf_counter() - start)
    return median(times)


def print_row(cells: Sequence[object]) -> None:
    """Print a row of a Markdown table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def print_comparison(names: Sequence[str], seeds: int, trials: int, workers: int) -> None:
    """Print how much better than random each sampler is."""
    random = best_values("random", seeds, trials, workers)
    print_row(["sampler", "median best", "worst best", "seeds won", "p"])
    print_row(["---"] * 5)
    print_row(["random", f"{median(random):.4f}", f"{max(random):.4f}", "", ""])
    for name in names:
        found = best_values(name, seeds, trials, workers)
        won = sum(one < other for one, other in zip(found, random, strict=True))
        p = mannwhitneyu(found, random, alternative="less").pvalue
        print_row([name, f"{median(found):.4f}", f"{max(found):.4f}", f"{won} of {seeds}", f"{p:.1e}"])


def print_times(names: Sequence[str], longest: int) -> None:
    """Print what one more setting costs."""
    counts = [count for count in HISTORIES if count <= longest]
    print_row(["seconds for one more after", *counts])
    print_row(["---"] * (len(counts) + 1))
    for name in names:
        print_row([name, *(f"{seconds_per_suggestion(name, count):.3f}" for count in counts)])


def main() -> None:
    """Read the options and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", default="sobol,tpe,cmaes", help="compared with random; gp takes 10 s for a seed")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--trials", type=int, default=50, help="settings for each")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--longest_history", type=int, default=max(HISTORIES), help="0: no times")
    options = parser.parse_args()
    names = options.samplers.split(",")
    print_comparison(names, options.seeds, options.trials, options.workers)
    if options.longest_history:
        print()
        print_times(names, options.longest_history)


if __name__ == "__main__":
    main()
