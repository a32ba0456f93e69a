"""Mutation testing: which small faults in a module do its own tests find?

``python -m tests.mutation runner/strict_yaml.py tests/test_strict_yaml.py [--sample=100]``

The tests are collected once. Each mutant is a fork in which the code of the module's functions is exchanged; only the
tests that run its line are run, the quickest first. What stands outside of functions is tried in forks that import the
framework again. Left alone are docstrings, annotations, decorators, the wording of messages and what is logged. A
mutant with which the tests do not end counts as killed; one in code that only child processes run counts as alive.
"""

from __future__ import annotations

import argparse
import ast
import functools
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import Phase, settings

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Div,
    ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.UAdd: ast.USub, ast.USub: ast.UAdd, ast.Break: ast.Continue, ast.Continue: ast.Break,
}  # fmt: skip
_HEAVY = ("torch", "pytorch_lightning", "optuna", "hypothesis", "param", "yaml", "rich", "xaitk_saliency", "skimage")


@dataclass(frozen=True)
class Mutant:
    """One small change: the node of the module's tree that is exchanged, and what by."""

    node: int
    choice: int
    line: int
    function: str
    change: str


# ---- making mutants ----


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what *node* may be exchanged by."""
    if type(node) in _SWAPS:
        yield _SWAPS[type(node)]()
    elif isinstance(node, ast.Constant):
        yield from _other_constants(node.value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.If | ast.IfExp | ast.While | ast.comprehension):
        yield from _with_other_conditions(node)
    elif isinstance(node, ast.Return) and not _is_none(node.value):
        yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Raise | ast.Expr | ast.Delete | ast.AugAssign):
        yield ast.Pass()
    elif isinstance(node, ast.Assign) and not _is_none(node.value):
        yield ast.Assign(node.targets, ast.Constant(None))
    elif isinstance(node, ast.Call):
        for index in range(len(node.keywords)):
            yield ast.Call(node.func, node.args, node.keywords[:index] + node.keywords[index + 1 :])


def _other_constants(value: Any) -> Iterator[ast.AST]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int | float):
        yield ast.Constant(value + 1)
    elif (isinstance(value, str) and value.count(" ") < 3) or isinstance(value, bytes):  # more words are wording
        yield ast.Constant(value * 2 or "x")


def _with_other_conditions(node: Any) -> Iterator[ast.AST]:
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.comprehension):
        for index in range(len(node.ifs)):
            yield ast.comprehension(**{**fields, "ifs": node.ifs[:index] + node.ifs[index + 1 :]})
    elif isinstance(node, ast.While):
        yield ast.While(**{**fields, "test": ast.Constant(False)})
    else:
        yield type(node)(**{**fields, "test": ast.UnaryOp(ast.Not(), node.test)})


def _is_none(node: ast.AST | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def _is_left_out(node: ast.AST, field: str) -> bool:
    """Tell whether the *field* of *node* is not worth a mutant."""
    if field in {"annotation", "returns", "decorator_list", "bases", "exc", "type_params"} or isinstance(
        node, ast.JoinedStr
    ):
        return True
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.Expr):
        is_log = isinstance(node.value, ast.Call) and ast.unparse(node.value.func).lower().startswith(("_log.", "log."))
        return is_log or isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def _walk(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.AST, str, int | None, str]]:
    """Yield each node with its parent, the field and the index in it, and the function whose code it is part of."""

    def visit(parent: ast.AST, function: str, names: str) -> Iterator[tuple[ast.AST, ast.AST, str, int | None, str]]:
        is_function = isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef)
        if is_function or isinstance(parent, ast.ClassDef):
            names = f"{names}.{parent.name}".strip(".")  # type: ignore[attr-defined]
        for field, value in ast.iter_fields(parent):
            if _is_left_out(parent, field):
                continue
            inside = function or (names if is_function and field == "body" else "")
            for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
                if isinstance(child, ast.AST):
                    yield child, parent, field, index, inside
                    yield from visit(child, inside, names)

    return visit(tree, "", "")


def _mutants(source: str) -> list[Mutant]:
    found = []
    for number, (node, parent, _, _, function) in enumerate(_walk(ast.parse(source))):
        if isinstance(node, ast.Expr) and _is_left_out(node, "value"):
            continue
        placed = node if hasattr(node, "lineno") else getattr(node, "target", parent)
        line = getattr(placed, "lineno", 0)
        for choice, other in enumerate(_replacements(node)):
            change = f"{_text(node)}  ->  {_text(other)}"
            found.append(Mutant(number, choice, line, function, change))
    return found


def _text(node: ast.AST) -> str:
    with suppress(AttributeError, RecursionError):
        text = ast.unparse(node).strip().splitlines()
        if text:
            return text[0][:90]
    return type(node).__name__


def _compiled(source: str, path: Path, mutant: Mutant) -> CodeType:
    tree = ast.parse(source)
    node, parent, field, index, _ = list(_walk(tree))[mutant.node]
    other = list(_replacements(node))[mutant.choice]
    if isinstance(node, ast.expr | ast.stmt):
        ast.copy_location(other, node)
    if index is None:
        setattr(parent, field, other)
    else:
        getattr(parent, field)[index] = other
    return compile(ast.fix_missing_locations(tree), str(path), "exec", dont_inherit=True)


# ---- running tests against them ----


class _Session:
    """A plugin of pytest that measures which lines each test runs, and then runs each mutant's tests in a fork."""

    def __init__(self, path: Path, tests: list[str], mutants: list[Mutant]) -> None:
        self._path = path
        self._source = path.read_text()
        self._tests = tests
        self._mutants = mutants
        self._at_import: set[int] = set()
        self._output = os.dup(1)  # pytest takes what is printed
        self.results: list[str] = []
        sys.settrace(_line_tracer(str(path), self._at_import))

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        sys.settrace(None)
        functions = [each for each in gc.get_objects() if type(each) is FunctionType]
        self._functions = [each for each in functions if each.__code__.co_filename == str(self._path)]
        self._caches = [each for each in gc.get_objects() if type(each) is functools._lru_cache_wrapper]
        gc.freeze()  # a fork does not copy what is there already
        tests = []
        for item in session.items:
            answer = _in_fork(functools.partial(self._measure, item), 300)
            if isinstance(answer, dict):
                tests.append((answer["seconds"], set(answer["lines"]), item))
            else:
                self._say(f"left out, it fails without a mutant: {item.nodeid}")
        tests.sort(key=lambda each: each[0])
        for mutant in self._mutants:
            own = [each for each in tests if mutant.line in each[1]]
            result = self._result(mutant, own)
            self.results.append(result)
            if not result.startswith("killed"):
                self._say(f"{self._path.name}:{mutant.line}: {mutant.change}  ({result})")
        return True

    def _say(self, text: str) -> None:
        os.write(self._output, f"{text}\n".encode())

    def _measure(self, item: pytest.Item) -> Any:
        found: set[int] = set()
        threading.settrace(_line_tracer(str(self._path), found))
        sys.settrace(_line_tracer(str(self._path), found))
        start = time.monotonic()
        failed = _fails(item, None)
        sys.settrace(None)
        return "failed" if failed else {"seconds": time.monotonic() - start, "lines": sorted(found)}

    def _result(self, mutant: Mutant, tests: list[tuple[float, set[int], pytest.Item]]) -> str:
        answer = "anew"
        if mutant.function and mutant.line not in self._at_import:
            if not tests:
                return "not run"
            limit = 10 + 5 * sum(each[0] for each in tests)
            answer = _in_fork(functools.partial(self._try, mutant, [each[2] for each in tests]), limit) or "killed"
        return (_in_fork(functools.partial(self._try_anew, mutant), 120) or "killed") if answer == "anew" else answer

    def _try(self, mutant: Mutant, items: list[pytest.Item]) -> str:
        if mutant.function not in _exchange(self._functions, _compiled(self._source, self._path, mutant)):
            return "anew"
        for cache in self._caches:
            cache.cache_clear()
        for item, following in zip(items, [*items[1:], None], strict=True):
            if _fails(item, following):
                return "killed"
        return "survived"

    def _try_anew(self, mutant: Mutant) -> str:
        """Import the framework again, with the mutant, and run all tests."""
        for name in [name for name in sys.modules if name.partition(".")[0] in {"runner", "tests"}]:
            del sys.modules[name]
        name = ".".join(self._path.with_suffix("").relative_to(Path.cwd()).parts)
        code = _compiled(self._source, self._path, mutant)
        sys.meta_path.insert(0, _Finder(name, self._path, code))
        return "killed" if pytest.main(["-x", "-q", "-p", "no:cacheprovider", *self._tests]) else "survived"


def _line_tracer(path: str, found: set[int]) -> Any:
    """Return a trace function that notes the lines of one file."""

    def local(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            found.add(frame.f_lineno)
        return local

    return lambda frame, event, _: local if frame.f_code.co_filename == path else None


def _fails(item: pytest.Item, following: pytest.Item | None) -> bool:
    return any(report.failed for report in runtestprotocol(item, nextitem=following, log=False))


def _exchange(functions: list[FunctionType], module: CodeType) -> set[str]:
    """Give the functions of a module the mutant's code, whoever holds them; return the names of those that took it."""
    codes = {(code.co_qualname, code.co_firstlineno): code for code in _codes(module)}
    done = set()
    for each in functions:
        with suppress(KeyError, ValueError):  # ValueError: the mutant has other names from outer functions
            each.__code__ = codes[each.__code__.co_qualname, each.__code__.co_firstlineno]
            done.add(each.__qualname__)
    return done


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


class _Finder(importlib.abc.MetaPathFinder):
    """Imports one module with the mutant's code."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self._name, self._path, self._code = name, path, code

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        loader = importlib.machinery.SourceFileLoader(name, str(self._path))
        loader.get_code = lambda _: self._code  # type: ignore[assignment, method-assign]
        return importlib.util.spec_from_file_location(name, self._path, loader=loader)


def _in_fork(work: Callable[[], Any], seconds: float) -> Any:
    """Return what *work* returns in a fork, as JSON knows it; None if it did not end in time."""
    with tempfile.NamedTemporaryFile() as answer:
        child = os.fork()
        if child == 0:
            os.setsid()
            try:
                result = work()
            except BaseException as error:
                result = f"killed: {error!r}"
            Path(answer.name).write_text(json.dumps(result))
            os._exit(0)
        end = time.monotonic() + seconds
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            if time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return None
            time.sleep(0.002)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        content = Path(answer.name).read_text()
    return json.loads(content) if content else None


def main() -> None:
    """Print how many mutants of a module were killed, and the survivors."""
    parser = argparse.ArgumentParser()
    parser.add_argument("module", type=lambda text: Path(text).resolve())
    parser.add_argument("tests", nargs="+")
    parser.add_argument("--sample", type=int, default=10**6, help="no more mutants than this, chosen with a fixed seed")
    arguments = parser.parse_args()
    for name in _HEAVY:
        with suppress(ImportError):
            importlib.import_module(name)
    settings.register_profile("mutants", database=None, deadline=None, phases=[Phase.explicit, Phase.generate])
    settings.load_profile("mutants")
    found = _mutants(arguments.module.read_text())
    chosen = random.Random(0).sample(found, min(len(found), arguments.sample))
    session = _Session(arguments.module, arguments.tests, sorted(chosen, key=lambda each: (each.line, each.node)))
    start = time.monotonic()
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
        code = pytest.main(["-q", "-p", "no:cacheprovider", *arguments.tests], plugins=[session])
    if not session.results:
        sys.exit(f"pytest ended with {code}")
    killed = sum(each.startswith("killed") for each in session.results)
    name, seconds = arguments.module.relative_to(Path.cwd()), time.monotonic() - start
    counts = f"{len(found)} mutants, {len(chosen)} tried, {killed} killed, {len(chosen) - killed} not"
    print(f"{name}: {counts}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
