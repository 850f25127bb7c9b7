"""An action as a flow calls it: what it is given, and where it runs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from copy import deepcopy
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any

from proxy.turn import RailFault
from rails._colang.context import Context

_VARIABLE = "__context__"  # a parameter of the name `__context__x` gets the variable `$x`
_MOST = 8  # threads of one folder's functions

_Job = tuple[Future[Any], Callable[[], Any]]


class Failed(Exception):
    """An action has not answered. Names the kind of error, never a text."""


class Threads:
    """A few threads for a policy's own functions, begun as they are needed and ended with this object.

    A function that never returns keeps one of them, and no more: those in which the house loads policies and looks for
    personal data are others, and none of these keeps the process from ending.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._begun = 0

    def __del__(self) -> None:
        for _ in range(self._begun):
            self._jobs.put(None)

    async def run(self, call: Callable[[], Any]) -> Any:
        """What the call answers, once a thread is free for it. Raises what it raises."""
        future: Future[Any] = Future()
        self._jobs.put((future, partial(copy_context().run, call)))
        if self._begun < _MOST:
            self._begun += 1
            Thread(target=_work, args=(self._jobs,), name="kindrail-policy-code", daemon=True).start()
        return await asyncio.wrap_future(future)


class Action:
    """A function that flows call, or a class with a `run`; looked at once.

    threads: of a function that the policy brings. Where it is not async it runs there: it could keep everybody waiting.
    `effects`: whether it asks something of the house.
    """

    def __init__(self, call: Callable[..., Any], threads: Threads | None) -> None:
        made: Any = call() if inspect.isclass(call) else None
        self._call: Callable[..., Any] = made.run if made else call
        library = getattr(self._call, "__module__", "").startswith("nemoguardrails.")
        self._threads = None if library or inspect.iscoroutinefunction(self._call) else threads
        self._takes = frozenset(inspect.signature(self._call).parameters)
        self.effects = "effects" in self._takes

    async def answer(self, written: Mapping[str, Any], context: Context, offered: Mapping[str, Any]) -> Any:
        """What the action answers. Raises `RailFault` as it does, and `Failed` for whatever else it raises.

        written: the parameters in the flow. offered: what it gets beside them, if its signature names it.
        """
        try:
            return await self._answer(self._parameters(written, context, offered))
        except (RailFault, Failed):
            raise
        except BaseException as error:
            # Even what would end the house: a `SystemExit`, or the end of a task that the action itself has ended.
            if isinstance(error, asyncio.CancelledError) and _ended():
                raise
            raise Failed(type(error).__name__) from None

    async def _answer(self, parameters: Mapping[str, Any]) -> Any:
        if self._threads:
            return await self._threads.run(partial(self._call, **parameters))
        answer = self._call(**parameters)
        return await answer if inspect.isawaitable(answer) else answer

    def _parameters(self, written: Mapping[str, Any], context: Context, offered: Mapping[str, Any]) -> dict[str, Any]:
        parameters = {name: _value(value, context) for name, value in written.items()}
        for name in self._takes:
            if name in offered:
                parameters[name] = offered[name]
            elif name == "context":
                parameters[name] = dict(context)  # what an action does to it is lost, as with NeMo
            elif name.startswith(_VARIABLE):
                parameters[name] = context.get(name.removeprefix(_VARIABLE))
        return parameters


def _value(written: Any, context: Context) -> Any:
    """A written parameter: a variable's value, or a copy of what stands in the flow, which the action may change."""
    return context.value(written) if isinstance(written, str) else deepcopy(written)


def _ended() -> bool:
    """Whether the turn itself is being ended, because the caller has gone or its time is up."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    while job := jobs.get():
        _do(*job)
        del job  # while it waits nothing of a user stays here


def _do(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return  # nobody waits any more
    try:
        future.set_result(call())
    except Exception as error:
        # A StopIteration would never reach who waits.
        future.set_exception(Failed("StopIteration") if isinstance(error, StopIteration) else error)
    except BaseException as error:  # it would end a coroutine of the house, or the house itself
        future.set_exception(Failed(type(error).__name__))
