"""Python of a policy's own: the actions in its `actions.py`, read for their names, run only where it is allowed."""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

from proxy.turn import Fault
from rails._colang.script import Source, inside

_MODEL = frozenset(("llm", "llms", "llm_task_manager"))  # parameters through which NeMo gives an action a model
_numbers = itertools.count(1)


class _Loader(SourceFileLoader):
    """Runs what stands in the file itself: a compiled file beside it is neither read nor left."""

    def get_code(self, fullname: str) -> CodeType:
        """The file, compiled. Raises `SyntaxError`, and what reading it raises."""
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def files(folder: Path) -> list[Path]:
    """The files that NeMo would take actions from: `actions.py` and all in `actions/`, but none from elsewhere."""
    found = (path for path in inside(folder, ".py") if path.name != "__init__.py")
    return [path for path in found if path == folder / "actions.py" or path.is_relative_to(folder / "actions")]


def named(folder: Path) -> dict[str, tuple[Path, int]]:
    """The actions in the folder's Python, which is read and not run: each name's file and line."""
    return {name: (path, node.lineno) for path, node in _nodes(folder) for name in _decorated(node)}


def texts(folder: Path) -> set[str]:
    """The texts in the folder's Python: an action may set variables by their names."""
    constants = (node.value for _, node in _nodes(folder) if isinstance(node, ast.Constant))
    return {text for text in constants if isinstance(text, str)}


def _nodes(folder: Path) -> Iterator[tuple[Path, Any]]:
    for path in files(folder):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue  # `load` tells, where it may run
        yield from ((path, node) for node in ast.walk(tree))


def _decorated(node: ast.AST) -> Iterator[str]:
    """The name of a function or class under NeMo's `@action(name=...)`."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    for decorator in node.decorator_list:
        call = decorator if isinstance(decorator, ast.Call) else None
        target = call.func if call else decorator
        if "action" not in (getattr(target, "id", ""), getattr(target, "attr", "")):
            continue
        given = [word.value for word in call.keywords if word.arg == "name"] if call else []
        yield next((str(one.value) for one in given if isinstance(one, ast.Constant)), node.name)


def load(folder: Path, base: Path) -> tuple[dict[str, Callable[..., Any]], list[Fault]]:
    """Runs the folder's Python. Its actions by name, and a fault for every file that does not run.

    Every call makes modules of its own, so that two policies, or two versions of one, share no state.
    """
    actions: dict[str, Callable[..., Any]] = {}
    faults: list[Fault] = []
    for path in files(folder):
        name = f"kindrail_policy_code_{next(_numbers)}"
        spec = spec_from_file_location(name, path, loader=_Loader(name, str(path)))
        if spec is None or spec.loader is None:
            continue
        module = module_from_spec(spec)
        sys.modules[name] = module  # data classes look it up; one small module stays behind with every version
        try:
            spec.loader.exec_module(module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            faults.append(_broken(path, base, error))
        for value in vars(module).values():
            if meta := getattr(value, "action_meta", None):
                actions[meta["name"]] = value
    return actions, faults


def _broken(path: Path, base: Path, error: BaseException) -> Fault:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else (lines or [1])[-1]
    return Source.read(path, base).fault(line or 1, f"this Python does not run: {type(error).__name__}: {error}")


def asks_model(function: Callable[..., Any]) -> bool:
    """Whether NeMo gives this action a language model."""
    try:
        return not _MODEL.isdisjoint(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return False
