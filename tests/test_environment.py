"""environment.json and the saved diff: right in every kind of repository, and without secrets."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.environment import is_secret, kept_variables, record_environment, redact, redact_arguments
from runner.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    folder = RunFolder.create(tmp_path / "outputs", "Mine")
    yield folder
    folder.unlock()


@pytest.fixture(autouse=True)
def _plain_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run git as if the machine had no settings, except that commits have an author."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    settings = tmp_path / "gitconfig"
    settings.write_text('[user]\nname = Me\nemail = me@example.org\n[protocol "file"]\nallow = always\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(where: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True, text=True, errors="replace")
    return done.stdout.strip()


def make_repository(path: Path) -> Path:
    """Make a repository with one commit of ``code.py`` and, in a folder, ``image.bin``."""
    (path / "sub").mkdir(parents=True)
    git(path, "init", "-b", "main")
    (path / "code.py").write_text("a = 1\n")
    (path / "sub" / "image.bin").write_bytes(bytes(range(256)))
    git(path, "add", ".")
    git(path, "commit", "-m", "first")
    return path


def git_state(folder: RunFolder, code: Path) -> dict[str, Any]:
    environment = record_environment(folder, ["runner.py"], code)
    assert json.loads(folder.environment.read_text(encoding="utf-8")) == environment
    state = environment["git"]
    assert isinstance(state, dict)
    return state


def test_a_clean_repository_has_commit_and_branch_and_no_diff(folder: RunFolder, tmp_path: Path) -> None:
    """In a clean repository commit and branch are recorded; there is no diff, and no list of untracked files."""
    code = make_repository(tmp_path / "code")
    assert git_state(folder, code) == {
        "commit": git(code, "rev-parse", "HEAD"),
        "branch": "main",
        "remote": "",
        "dirty": False,
        "num_untracked": 0,
    }
    assert not folder.diff.exists()
    assert not folder.untracked.exists()


def test_the_saved_diff_restores_the_changes(folder: RunFolder, tmp_path: Path) -> None:
    """``git apply`` of the diff to the commit gives back all changes: staged, binary, Latin-1, of other folders."""
    code = make_repository(tmp_path / "code")
    git(code, "config", "diff.noprefix", "true")
    git(code, "config", "diff.relative", "true")
    git(code, "config", "color.ui", "always")
    (code / "code.py").write_bytes("b = 'é'\r\n".encode("latin-1"))
    (code / "sub" / "image.bin").write_bytes(bytes(reversed(range(256))))
    (code / "staged.py").write_text("c = 3\n")
    git(code, "add", "staged.py")
    state = git_state(folder, code / "sub")
    assert state["dirty"] is True
    assert state["num_untracked"] == 0
    git(tmp_path, "clone", str(code), "clone")
    git(tmp_path / "clone", "apply", str(folder.diff))
    for name in ("code.py", "sub/image.bin", "staged.py"):
        assert (tmp_path / "clone" / name).read_bytes() == (code / name).read_bytes()


def test_untracked_files_are_named_but_not_those_that_git_ignores(folder: RunFolder, tmp_path: Path) -> None:
    """Files that git does not know are listed for the whole repository; they do not make it dirty."""
    code = make_repository(tmp_path / "code")
    (code / ".git" / "info" / "exclude").write_text("*.ckpt\n")
    for name in ("new.py", "größe.py", "two\nlines.py", "ignored.ckpt"):
        (code / name).write_text("")
    state = git_state(folder, code / "sub")
    assert (state["dirty"], state["num_untracked"]) == (False, 3)
    assert folder.untracked.read_text(encoding="utf-8").splitlines() == ["größe.py", "new.py", '"two\\nlines.py"']


def test_a_detached_head_has_no_branch(folder: RunFolder, tmp_path: Path) -> None:
    """On no branch, the branch is an empty text."""
    code = make_repository(tmp_path / "code")
    git(code, "checkout", "--detach")
    state = git_state(folder, code)
    assert (state["branch"], state["commit"]) == ("", git(code, "rev-parse", "HEAD"))


def test_before_the_first_commit_what_is_staged_is_the_diff(folder: RunFolder, tmp_path: Path) -> None:
    """A repository without commits has no commit, but a branch, a diff and untracked files."""
    code = tmp_path / "code"
    code.mkdir()
    git(code, "init", "-b", "trunk")
    (code / "staged.py").write_text("canary\n")
    git(code, "add", ".")
    (code / "new.py").write_text("")
    state = git_state(folder, code)
    assert state == {"commit": "", "branch": "trunk", "remote": "", "dirty": True, "num_untracked": 1}
    assert "+canary" in folder.diff.read_text()


def test_outside_of_a_repository_the_reason_is_recorded(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no repository, or none that git may read, the rest is recorded all the same."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "code").mkdir()
    assert "not a git repository" in git_state(folder, tmp_path / "code")["problem"]
    assert json.loads(folder.environment.read_text())["packages"]["torch"]


def test_git_need_not_be_installed(folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git on the PATH the record says so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(folder, tmp_path) == {"problem": "git cannot be started: No such file or directory"}


def test_a_git_that_hangs_does_not_stop_the_run(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A git that does not answer, as on a dead network drive, is given up."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr("runner.environment._COMMAND_SECONDS", 0.3)
    assert git_state(folder, tmp_path) == {"problem": "git rev-parse took more than 0.3 s"}


def test_git_variables_of_another_repository_are_not_followed(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started from a hook of another repository, the code's own repository is recorded."""
    code, other = make_repository(tmp_path / "code"), make_repository(tmp_path / "other")
    (code / "code.py").write_text("a = 2\n")
    commit = git(code, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    state = git_state(folder, code)
    assert (state["commit"], state["dirty"]) == (commit, True)
    assert "+a = 2" in folder.diff.read_text()


def test_changes_in_a_submodule_are_in_the_diff(folder: RunFolder, tmp_path: Path) -> None:
    """The diff looks into submodules, and code in a submodule has the state of that one."""
    code = make_repository(tmp_path / "code")
    git(code, "submodule", "add", str(make_repository(tmp_path / "part")), "part")
    git(code, "commit", "-m", "second")
    assert git_state(folder, code)["dirty"] is False
    (code / "part" / "code.py").write_text("a = 2\n")
    assert git_state(folder, code)["dirty"] is True
    assert "+a = 2" in folder.diff.read_text()
    assert git_state(folder, code / "part")["commit"] == git(code / "part", "rev-parse", "HEAD")


def test_a_second_attempt_leaves_nothing_of_the_first(folder: RunFolder, tmp_path: Path) -> None:
    """When the changes are committed before a resume, the old diff is gone, as environment.json says."""
    code = make_repository(tmp_path / "code")
    (code / "code.py").write_text("a = 2\n")
    (code / "new.py").write_text("")
    git_state(folder, code)
    git(code, "add", ".")
    git(code, "commit", "-m", "second")
    assert git_state(folder, code)["dirty"] is False
    assert not folder.diff.exists()
    assert not folder.untracked.exists()


def test_a_huge_diff_is_not_kept(folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A diff beyond the limit is left out, and the record says so."""
    code = make_repository(tmp_path / "code")
    (code / "code.py").write_text("a = 2\n")
    monkeypatch.setattr("runner.environment._MOST_DIFF_BYTES", 10)
    state = git_state(folder, code)
    assert state["dirty"] is True
    assert state["problem"].startswith("the diff is not kept: ")
    assert not folder.diff.exists()


def test_no_secret_reaches_the_run_folder(folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets in variables, arguments, the remote and the changes are nowhere in the folder."""
    code = make_repository(tmp_path / "code")
    git(code, "remote", "add", "origin", "https://canary0:canary1@example.org/code.git")
    (code / "code.py").write_text("u = 'https://me:canary2@host/?api_key=canary3&n=1'\n# run --token canary4\n")
    for name in ("WANDB_API_KEY", "SLURM_JWT_TOKEN", "DATABASE_URL", "CUDA_SECRET", "AWS_ACCESS_KEY_ID", "MY_VALUE"):
        monkeypatch.setenv(name, "canary5")
    monkeypatch.setenv("TORCH_HOME", "https://me:canary6@host")
    arguments = [
        "runner.py",
        "--api_token=canary7 canary8",
        "--password",
        "canary9",
        "--data=s3://me:canary10@bucket/x",
    ]
    environment = record_environment(folder, arguments, code)
    files = [path for path in folder.path.rglob("*") if path.is_file()]
    assert {folder.diff, folder.environment} <= set(files)
    assert not [path for path in files if b"canary" in path.read_bytes()]
    assert environment["command_line"] == [
        "runner.py",
        "--api_token=***",
        "--password",
        "***",
        "--data=s3://***@bucket/x",
    ]
    assert environment["git"]["remote"] == "https://***@example.org/code.git"
    assert environment["variables"]["TORCH_HOME"] == "https://***@host"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://user:pass@host/path", "https://***@host/path"),
        ("https://user:p@ss@host/path", "https://***@host/path"),
        ("https://token@host", "https://***@host"),
        ("postgresql+psycopg://u:p@h:5432/db?sslmode=on", "postgresql+psycopg://***@h:5432/db?sslmode=on"),
        ("https://host/a@b", "https://host/a@b"),
        ("git@github.com:me/code.git", "git@github.com:me/code.git"),
        ("https://h/?a=1&Access_Token=x&b=2#c", "https://h/?a=1&Access_Token=***&b=2#c"),
        ("https://h/?sv=1&amp;sig=x%2B", "https://h/?sv=1&amp;sig=***"),
        ("--api-key='a b' --l_rate=1", "--api-key=*** --l_rate=1"),
        ("--l_rate=1 --Secret x", "--l_rate=1 --Secret ***"),
        ("--keep_tokens --l_rate=1", "--keep_tokens --l_rate=1"),
        ("--- a/key b", "--- a/key b"),
        ("nothing: key = 1", "nothing: key = 1"),
        ('--opts={"password": "a \\" b", "size": 3}', '--opts={"password": "***", "size": 3}'),
        ("{'api_key':'x', 'tokens': 'y'}", "{'api_key':\"***\", 'tokens': \"***\"}"),
        ('{"max_tokens": 5, "author": "me"}', '{"max_tokens": 5, "author": "me"}'),
    ],
)
def test_secrets_and_nothing_else_are_redacted(text: str, expected: str) -> None:
    """Only the secret part of a text is replaced."""
    assert redact(text) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *((name, "x", True) for name in ("password", "db_passwd", "passphrase", "pwd", "auth", "hf_token", "api_keys")),
        *((name, "x", False) for name in ("tokenizer", "author", "max_tokens_of", "keyword", "pwdx")),
        ("max_tokens", 512, False),
        ("tokens", ["a", "b"], True),
        ("opts", {"deep": {"password": "x"}}, True),
        ("opts", {"deep": [1, {"password": "x"}]}, True),
        ("opts", [{"size": 3}, ({"password": "x"},)], True),
        ("credentials", {"user": "me", "word": "x"}, True),
        ("opts", [{"size": 3}, "password"], False),
        ("opts", {"size": 3, "max_tokens": 5}, False),
    ],
)
def test_which_parameters_are_secrets(name: str, value: Any, expected: bool) -> None:
    """By their names, or by names in a dict; numbers are none."""
    assert is_secret(name, value) is expected


def test_arguments_keep_what_is_no_secret() -> None:
    """An argument after a flag that only looks secret is kept, and so is everything without a secret name."""
    arguments = ["runner.py", "--use_keys", "--l_rate=1", "--tag", "a key", "--", "--token", ""]
    assert redact_arguments(arguments) == [*arguments[:-1], "***"]


@pytest.mark.parametrize(
    "argument",
    [
        "--server={host: a, password: x y, port: 80}",
        "--server={login: [{'hf_token': x}]}",
        "--server={a: {password: 'it''s'}, b: 1}",
        '--server={"password": "a\\"b"}',
        "--server=password: x",
        "--server=port: 80\npassword: x",
        "--server=a: {password: x}",
        "--login={password: [hunter2, x]}",
        '--login={"password":hunter2}',
        "--login={password: {v: x}}",
        "--login={? password : x}",
        "--login={api-key: x}",
        "--logins=[{password: x}]",
        "--logins=[" + "password" * 4000 + ": x]",
        "--pwd=A",
        "--passphrase=B",
        "--db_pwd=D",
        "--hf-token=E F",
        "--auth=C",
    ],
)
def test_secrets_on_the_command_line(argument: str) -> None:
    """By the name of the parameter, or of a key in its value; beside its flag or behind it."""
    flag, _, value = argument.partition("=")
    assert redact_arguments([argument]) == [f"{flag}=***"]
    assert redact_arguments([flag, value, "--note", value[:2]]) == [flag, "***", "--note", value[:2]]


@pytest.mark.parametrize(
    "argument",
    [
        "--tokenizer=bert", "--keypoints=17", "--monkey=1", "--max_tokens=512", "--token_dim=5",
        "--note=Tokens: how many", "--note=my password: yes", "--server={tokenizer: x, author: y, size: 3}",
        "--classes=[token, auth]", "--data=[" + "password" * 4000 + "]",
    ],
)  # fmt: skip
def test_what_is_no_secret_on_the_command_line(argument: str) -> None:
    """It stays readable."""
    assert redact_arguments([argument]) == [argument]
    assert redact_arguments(argument.split("=", 1)) == argument.split("=", 1)


@pytest.mark.parametrize("text", ["'" + "password" * 50000, "{" + "token" * 50000, "'" + "x_" * 100000])
def test_long_words_are_looked_at_once(text: str) -> None:
    """A text of a megabyte without an end is not looked at from each of its characters."""
    assert redact(text) == text
    assert len(redact_arguments([f"--x={text}"])) == 1


def test_only_variables_that_change_results_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of CUDA, threads and the scheduler are kept; all others, and secret names among them, are not."""
    kept = {"CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "1", "SLURM_JOB_ID": "7", "PYTHONHASHSEED": "3"}
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    for name in ("SLURM_JOB_USER", "HOME", "NCCL_MY_CREDENTIALS", "CUDA"):
        monkeypatch.setenv(name, "x")
    recorded = kept_variables()
    assert kept.items() <= recorded.items()
    assert not {"SLURM_JOB_USER", "HOME", "NCCL_MY_CREDENTIALS", "CUDA"} & set(recorded)


def test_torch_is_described_but_not_imported(folder: RunFolder, tmp_path: Path) -> None:
    """A process that has not imported torch need not, and one that has gets the build in the record."""
    code = (
        "import sys; from pathlib import Path; from runner.run_folder import RunFolder\n"
        "from runner.environment import record_environment as record\n"
        "folder = RunFolder(Path(sys.argv[1]))\n"
        "assert record(folder, [], Path())['torch'] is None and 'torch' not in sys.modules\n"
        "import torch\n"
        "assert record(folder, [], Path())['torch']['version'] == torch.__version__\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder.path)], check=True)


def test_untracked_code_beside_the_container_is_in_the_diff(folder: RunFolder, tmp_path: Path) -> None:
    """A new container is code that the commit does not have: the diff brings it back; other new files are not in it."""
    code = make_repository(tmp_path / "code")
    written = {
        "sub/new model.py": b"x = 1\r\n\ny = 'no end'",
        "sub/deep/parts.py": "größe = '\u2028'\n".encode(),
        "sub/settings.yaml": b"a: 1\n",
        "sub/notes.txt": b"no code\n",
        "elsewhere.py": b"not beside it\n",
        "sub/binary.py": b"\0",
    }
    for name, content in written.items():
        (code / name).parent.mkdir(exist_ok=True)
        (code / name).write_bytes(content)
    state = git_state(folder, code / "sub")
    assert (state["dirty"], state["num_untracked"]) == (True, 6)
    git(tmp_path, "clone", str(code), "clone")
    git(tmp_path / "clone", "apply", str(folder.diff))
    for name, content in written.items():
        restored = tmp_path / "clone" / name
        assert restored.exists() == (name in ("sub/new model.py", "sub/deep/parts.py", "sub/settings.yaml"))
        assert not restored.exists() or restored.read_bytes() == content
