"""The commands that run a run again, go on with it, or explain more of its images."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from runner.command_line import program_name
from runner.plain_text import escaped
from runner.reports.record import RunRecord, number_or_nan
from runner.run_folder import RunFolder
from runner.run_record import resume_command, shown


@dataclass(frozen=True)
class Command:
    """A command with what it is for."""

    what: str
    text: str


def commands(record: RunRecord) -> list[Command]:
    """Return the commands of section 9 for this run."""
    folder = record.folder
    config = shlex.quote(str(shown(folder.config)))
    found = [Command("run it again with the same values", f"{program_name()} --config={config}")]
    arguments = record.environment.get("command_line")
    if isinstance(arguments, list) and arguments:
        typed = shlex.join(str(each) for each in arguments[1:])
        found.append(Command("as it was started the last time", f"{program_name()} {typed}".rstrip()))
    found.append(Command("go on with what is missing", resume_command(folder)))
    found += [*_saliency(record), *_code(record)]
    again = Command("check its files, and make this page anew", f"{program_name()} runs verify {_quoted(folder)} && "
                    f"{program_name()} report {_quoted(folder)}")  # fmt: skip
    return [Command(each.what, escaped(each.text)) for each in (*found, again)]


def _saliency(record: RunRecord) -> list[Command]:
    values = {each.name: each.value for _, group in record.parameters for each in group}
    resume = resume_command(record.folder)
    if values.get("saliency_method", '"none"').strip('"') == "none":
        return [Command("make saliency maps of it", f"{resume} --saliency_method=rise")] if values else []
    found = []
    if (limit := values.get("saliency_limit", "null")) != "null" and not _all_are_explained(record, values):
        found.append(Command(f"explain all images, not only {limit}", f"{resume} --saliency_limit=None"))
    if "randomization" not in values.get("saliency_checks", "randomization"):
        checks = "deletion,insertion,randomization,repeatability"
        found.append(Command("check the maps against a random model", f"{resume} --saliency_checks={checks}"))
    return found


def _all_are_explained(record: RunRecord, values: Mapping[str, str]) -> bool:
    """Tell whether the limit is known to have left no image out: not reached, or as many as the whole test had."""
    found = record.metrics_of("saliency")
    explained = found.get("num_images", math.nan) + found.get("num_failed", 0.0)
    if explained < number_or_nan(values["saliency_limit"]):
        return True
    is_of_test = record.results.get("saliency", {}).get("split") == "test"
    is_whole_test = values.get("limit_test_batches", "null") == "null"
    num_items = number_or_nan(record.results.get("test", {}).get("num_items"))
    return is_of_test and is_whole_test and explained >= num_items


def _code(record: RunRecord) -> list[Command]:
    git = record.environment.get("git")
    commit = git.get("commit") if isinstance(git, dict) else None
    if not commit:
        return []
    text = f"git checkout {shlex.quote(str(commit))}"
    if record.folder.diff.is_file():
        text += f" && git apply {shlex.quote(str(shown(record.folder.diff)))}"
    return [Command("get its code", text)]


def _quoted(folder: RunFolder) -> str:
    return shlex.quote(str(shown(folder.path)))
