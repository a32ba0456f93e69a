"""What many small images cost around their forward passes: in files of 1000, and in a file each.

Run it: ``python -m tests.benchmarks.many_images [--images=10000] [--rounds=3] [--parts=N]``. Both layouts run in turn,
in processes of their own, on one thread: 28 x 28 images made from a formula, explained by 16 windows with a model of
two small layers. *Finish* is the table and the pictures; CPU seconds are those of the whole process. With ``--parts``
files of 1000 are made once more, after a training without maps, by so many processes at a time, start-up included.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PROGRAM = [sys.executable, str(REPOSITORY / "runner.py")]
MADE = re.compile(r"saliency (\d+)(?:/\d+)?  .*?  (?:(\d+) min )?([\d.]+) s$", re.MULTILINE)


def start(folder: Path, *argv: str) -> subprocess.Popen[str]:
    """Start the program in *folder*."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*PROGRAM, *argv], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(program: subprocess.Popen[str]) -> str:
    """Wait for it and return what it printed."""
    output, _ = program.communicate()
    assert program.returncode == 0, output
    return output


def cpu_seconds() -> float:
    """Return the CPU seconds of all programs that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def arguments(images: int, shard_size: int, *more: str) -> Sequence[str]:
    """Return the arguments of a run."""
    containers = f"--containers={HERE / 'containers'}"
    return ["--model=ManyImages", containers, f"--num_images={images}", f"--saliency_shard_size={shard_size}", *more]


def measure(images: int, shard_size: int) -> dict[str, float]:
    """Return seconds of making and of finishing, bytes and files of the maps, and the most memory."""
    with tempfile.TemporaryDirectory() as folder:
        before = cpu_seconds()
        output = finished(start(Path(folder), *arguments(images, shard_size)))
        [run] = Path(folder).glob("outputs/2*")
        found = MADE.search(output)
        assert found is not None, output
        making = 60 * int(found[2] or 0) + float(found[3])
        status = json.loads((run / "status.json").read_text())
        maps = list((run / "saliency" / "maps").iterdir())
        return {
            "images_per_second": images / making,
            "finish_ms_per_image": 1000 * (status["phases"]["saliency"]["seconds"] - making) / images,
            "bytes_per_map": sum(file.stat().st_size for file in maps) / images,
            "files": len(maps),
            "peak_memory_mb": status["phases"]["saliency"]["peak_memory"] / 1e6,
            "cpu_seconds": cpu_seconds() - before,
        }


def measure_parts(images: int, parts: int) -> tuple[float, float]:
    """Return the CPU seconds of all parts, made at a time, and of the run that puts them together."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        finished(start(folder, *arguments(images, 1000, "--saliency_method=none")))
        started = cpu_seconds()
        method = "--saliency_method=sliding_window"
        programs = [  # the first one to come writes the method down
            start(folder, "--resume=outputs/latest", method, f"--saliency_part={number}/{parts}")
            for number in range(1, parts + 1)
        ]
        for program in programs:
            finished(program)
        made = cpu_seconds()
        finished(start(folder, "--resume=outputs/latest"))
        return made - started, cpu_seconds() - made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", type=int, default=0)
    options = parser.parse_args()
    rounds = [(measure(options.images, 1), measure(options.images, 1000)) for _ in range(options.rounds)]
    for name in rounds[0][0]:
        alone, together = (statistics.median(each[place][name] for each in rounds) for place in (0, 1))
        ratio = statistics.median(each[1][name] / each[0][name] for each in rounds)
        print(f"{name}: a file each {alone:.4g}, files of 1000 {together:.4g}, ratio {ratio:.3f}")
    if options.parts:
        made, merged = measure_parts(options.images, options.parts)
        print(f"{options.parts} parts at a time: {made:.1f} s of CPU, putting together {merged:.1f} s")


if __name__ == "__main__":
    main()
