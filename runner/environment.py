"""``environment.json``: where, with which software and from which code a run was started, without secrets."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.atomic_files import atomic_file, write_json
from runner.run_folder import RunFolder
from runner.version import __version__

HIDDEN = "***"
"""Stands for a secret."""

_SECRET = r"(?:key|token|secret|password|passwd|credential)"  # noqa: S105 - a pattern
_SECRET_NAME = re.compile(_SECRET, re.IGNORECASE)
_SECRET_PARAMETER = re.compile(
    r"(password|passwd|passphrase|(^|_)(pwd|auth)(_|$)|secret|credential|(^|_)tokens?$|(api|access|private)_?keys?)",
    re.IGNORECASE,
)
_KEY = (
    r"(?:\w{0,60}(?:password|passwd|passphrase|secret|credential)\w{0,60}|(?:\w{0,60}_)?(?:tokens?|pwd|auth)"
    r"|\w{0,60}(?:api|access|private)_?keys?)"
)
_SECRET_IN_JSON = re.compile(
    rf"""(["']{_KEY}["']\s*:\s*)(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""",
    re.IGNORECASE,
)
_WORD = re.compile(r"""([\w-]+)(["']?\s*:)?""")
_LINE_KEY = re.compile(r"""^[ \t]*(?:- )?["']?(?!tokens\b)([\w-]+)["']?[ \t]*:(?:\s|$)""", re.IGNORECASE | re.MULTILINE)
_USER_IN_URL = re.compile(r"(?<=://)[^\s/\"']+@")
_SECRET_IN_QUERY = re.compile(
    rf"([?&](?:amp;)?[^\s=&#]{{0,60}}(?:{_SECRET}|sig|auth)[^\s=&#]{{0,60}}=)[^\s&#\"'<>]+", re.IGNORECASE
)
_SECRET_ARGUMENT = re.compile(
    rf"((?<!-)--(?=\w)[\w.-]{{0,60}}{_SECRET}[\w.-]{{0,60}}(?:=|[ \t]+(?!-)))(?:\"[^\"]*\"|'[^']*'|\S+)", re.IGNORECASE
)

_NUMBER = re.compile(r"[-+\d_.e]+", re.IGNORECASE)

# An allow-list: there is no end to the names that secrets can have.
_KEPT_VARIABLES = re.compile(
    r"(CUDA|CUBLAS|CUDNN|NVIDIA|NCCL|GLOO|HIP|ROCR|OMP|KMP|MKL|OPENBLAS|NUMEXPR|TORCH|PYTORCH|PL|LIGHTCASE)_\w+"
    r"|SLURM_(JOB_ID|JOB_PARTITION|ARRAY_JOB_ID|ARRAY_TASK_ID|NTASKS|NNODES|NODEID|PROCID|LOCALID|CPUS_PER_TASK|GPUS\w*)"
    r"|PYTHON(HASHSEED|UNBUFFERED|DEVMODE|OPTIMIZE)|(LOCAL_|NODE_|GROUP_)?RANK|WORLD_SIZE|AZUREML_RUN_ID"
)
_MOST_DIFF_BYTES = 20 * 2**20
_MOST_NEW_FILES, _MOST_NEW_BYTES = 100, 2**20
_COMMAND_SECONDS = 20.0


def record_environment(folder: RunFolder, argv: Sequence[str], code_folder: Path) -> dict[str, Any]:
    """Write environment.json, and the uncommitted changes of the repository that *code_folder* is in.

    Neither git nor a repository is needed; what is missing is said under ``git`` as ``problem``. Lines of the diff
    that hold a secret are changed by :func:`redact`, so such a diff does not apply there.
    """
    environment: dict[str, Any] = {
        "command_line": redact_arguments(argv),
        "version": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "host": platform.node(),
        "num_cpus": os.cpu_count(),
        "torch": _torch_build(),
        "gpus": gpu_names(),
        "git": _record_git(folder, code_folder),
        "variables": kept_variables(),
        "packages": installed_versions(),
    }
    write_json(folder.environment, environment)
    return environment


def is_secret(name: str, value: Any = "") -> bool:
    """Tell whether a parameter called *name*, or a key of a dict in it, is a secret: written down nowhere.

    Numbers are none: ``max_tokens=512``.
    """
    if _SECRET_PARAMETER.search(name) is not None and isinstance(value, str | list | dict):
        return True
    if isinstance(value, dict):
        return any(is_secret(str(key), item) for key, item in value.items())
    return isinstance(value, list | tuple) and any(is_secret("", item) for item in value)


def redact(text: str) -> str:
    """Return *text* with ``***`` for users and passwords in URLs, secret query parameters and ``--secret=value``."""
    return _SECRET_IN_JSON.sub(r'\1"***"', _SECRET_ARGUMENT.sub(r"\1***", redact_urls(text)))


def redact_urls(text: str) -> str:
    """Return *text* with ``***`` for users and passwords in URLs and for secret query parameters."""
    return _SECRET_IN_QUERY.sub(r"\1***", _USER_IN_URL.sub("***@", text))


def redact_arguments(argv: Sequence[str]) -> list[str]:
    """Return the arguments of a command with ``***`` for secrets; a value may hold blanks or be the next argument."""
    redacted: list[str] = []
    pending = ""
    for argument in argv:
        is_flag = argument.startswith("--")
        name, equals, value = argument.partition("=") if is_flag else (pending, "", argument)
        hidden = HIDDEN if _is_secret_text(name, value) else redact(value)
        redacted.append(name + equals + hidden if equals else name if is_flag else hidden)
        pending = name if is_flag and not equals else ""
    return redacted


def _is_secret_text(flag: str, text: str) -> bool:
    """Tell whether *text*, given to *flag*, is a secret, or may be a list or dict in YAML with the key of one."""
    name = flag.lstrip("-").replace("-", "_")
    if _SECRET_PARAMETER.search(name) is not None:
        return not (name.lower().endswith("tokens") and _NUMBER.fullmatch(text))
    keys = [word for word, colon in _WORD.findall(text) if colon] if "{" in text or "[" in text else []
    return any(_SECRET_PARAMETER.search(key.replace("-", "_")) for key in keys + _LINE_KEY.findall(text))


def kept_variables() -> dict[str, str]:
    """Return the environment variables that change results and hold no secrets."""
    return {
        name: redact(value)
        for name, value in sorted(os.environ.items())
        if _KEPT_VARIABLES.fullmatch(name) and not _SECRET_NAME.search(name)
    }


def installed_versions() -> dict[str, str]:
    """Return the versions of all packages that are installed, by their names."""
    versions: dict[str, str] = {}
    for path in reversed(sys.path):  # the first on the path counts
        versions |= _versions_in(path, _changed(path))
    return dict(sorted(versions.items(), key=lambda each: each[0].lower()))


@functools.lru_cache(maxsize=64)
def _versions_in(path: str, changed: int) -> dict[str, str]:
    """Read the versions in a folder once for each state of it, which an installation changes: it takes long."""
    del changed
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions(path=[path]):
        name = distribution.metadata["Name"]
        if name:  # left empty by an installation that was broken off
            versions.setdefault(name, distribution.version)
    return versions


def _changed(path: str) -> int:
    try:
        return Path(path or ".").stat().st_mtime_ns
    except OSError:
        return 0


def _torch_build() -> dict[str, Any] | None:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return None
    return {
        "version": torch.__version__,
        "commit": torch.version.git_version,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "cudnn": torch.backends.cudnn.version(),
        "mps": torch.backends.mps.is_available(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "num_threads": torch.get_num_threads(),
    }


def gpu_names() -> list[str]:
    """Return name and driver of each NVIDIA GPU of the machine.

    torch is not asked: it would start CUDA in this process, after which no process can be forked that uses it.
    """
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = _run(command)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [] if done.returncode else done.stdout.decode(errors="replace").splitlines()


class GitError(Exception):
    """Git cannot say; the text is the reason."""


def _record_git(folder: RunFolder, code_folder: Path) -> dict[str, Any]:
    for earlier in (folder.diff, folder.untracked):
        earlier.unlink(missing_ok=True)  # of an attempt before a resume
    state: dict[str, Any] = {}
    try:
        top = Path(os.fsdecode(git(code_folder, "rev-parse", "--show-toplevel").removesuffix(b"\n")))
        state["commit"] = _git_word(top, "rev-parse", "--verify", "--quiet", "HEAD")
        state["branch"] = _git_word(top, "symbolic-ref", "--short", "--quiet", "HEAD")
        state["remote"] = redact(_git_word(top, "remote", "get-url", "origin"))
        diff = _uncommitted_changes(top, state["commit"]) + _untracked_code(top, code_folder)
        state["dirty"] = bool(diff)
        untracked = git(top, "ls-files", "--others", "--exclude-standard")
        state["num_untracked"] = untracked.count(b"\n")
        _write_redacted(folder.untracked, untracked)
        if len(diff) > _MOST_DIFF_BYTES:
            raise GitError(f"the diff is not kept: {len(diff)} bytes")
        _write_redacted(folder.diff, diff)
    except GitError as error:
        state["problem"] = redact(str(error))
    return state


def _uncommitted_changes(top: Path, commit: str) -> bytes:
    """Return the difference of the tracked files to *commit*, or to nothing before the first commit."""
    base = commit or _git_word(top, "hash-object", "-t", "tree", os.devnull)
    # whatever the user's own settings, the diff is to be one that `git apply` reads, and no foreign program runs
    plain = ["--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--src-prefix=a/", "--dst-prefix=b/"]
    return git(top, "diff", "--binary", "--submodule=diff", *plain, base, "--")


def _untracked_code(top: Path, code_folder: Path) -> bytes:
    """Return code beside the container that git does not know yet, in the form of a diff that makes new files."""
    names = git(code_folder, "ls-files", "--others", "--exclude-standard", "--full-name", "-z", "--", ".").split(b"\0")
    files = [top / os.fsdecode(name) for name in sorted(names) if name.endswith((b".py", b".yaml", b".yml"))]
    return b"".join(_as_new_file(each, each.relative_to(top).as_posix()) for each in files[:_MOST_NEW_FILES])


def _as_new_file(file: Path, name: str) -> bytes:
    if not name.isprintable() or '"' in name or not file.is_file() or file.stat().st_size > _MOST_NEW_BYTES:
        return b""
    content = file.read_bytes()
    if b"\0" in content or not content:
        return b""
    lines = re.findall(rb"[^\n]*\n|[^\n]+\Z", content)
    end = b"" if content.endswith(b"\n") else b"\n\\ No newline at end of file\n"
    head = (
        f"diff --git a/{name} b/{name}\nnew file mode 100644\n--- /dev/null\n+++ b/{name}\n@@ -0,0 +1,{len(lines)} @@\n"
    )
    return os.fsencode(head) + b"".join(b"+" + line for line in lines) + end


def _git_word(folder: Path, *arguments: str) -> str:
    """Return the one line that git prints, or an empty text where git says that there is no such thing."""
    try:
        return os.fsdecode(git(folder, *arguments)).strip()
    except GitError:
        return ""


def git(folder: Path, *arguments: str, **extra: str) -> bytes:
    """Run git in *folder*, with *extra* environment variables, and return what it prints.

    Raises:
        GitError: there is no git, or it fails.
    """
    # GIT_DIR and the like, set inside git's own hooks, would point to another repository
    variables = {name: value for name, value in os.environ.items() if not re.match(r"GIT_(?!CONFIG)", name)}
    variables |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"} | extra
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", *arguments]
    try:
        done = _run(command, cwd=folder, env=variables)
    except OSError as error:
        raise GitError(f"git cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git {arguments[0]} took more than {_COMMAND_SECONDS:g} s") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"git {arguments[0]} failed"
        raise GitError(said.splitlines()[0])
    return done.stdout


def _run(command: list[str], **where: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_SECONDS, check=False, **where
    )


def _write_redacted(path: Path, content: bytes) -> None:
    """Write what git printed, whatever its encoding, unless it is empty."""
    if content:
        with atomic_file(path) as file:
            file.write(redact(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape"))
