"""Policies change while the house serves: what is proved takes over between two turns, what is refused changes nothing.

A change in the folder, or SIGHUP, starts a round: a process of its own proves the policies in service, a thread loads
them, and they are published in one assignment, if they are to the letter what was proved. A turn keeps the policy that
it began with.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
from watchfiles import awatch

from proxy.config import Config, ConfigFault
from proxy.faults import PolicyError
from proxy.live import Live, Reload, in_production, in_service, unnamed, untold
from proxy.policy.load import load_policy
from proxy.policy.model import Policy
from proxy.proof import Unproved
from proxy.services import Services

log = logging.getLogger("kindrail.reload")

_QUIET = 300  # milliseconds in which no further file may change before a round starts
_LOOK = 5.0  # seconds between two looks whether the folder is another one by now, and between two tries to watch it
_LIMIT = 120.0  # seconds that the process may take
_TRIES = 3  # rounds for files that change while they are proved
_TOLD = 20  # faults that are logged


@asynccontextmanager
async def reloading(config: Config, services: Services) -> AsyncIterator[None]:
    """Reloads the policies whenever they change, and on SIGHUP where it can be had, until the block ends."""
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    if not sys.stdin.isatty():  # a terminal that is closed hangs up too: then the house ends, as anything else does
        with suppress(NotImplementedError, RuntimeError, ValueError, AttributeError):  # no such signal, no main thread
            loop.add_signal_handler(signal.SIGHUP, changed.set)
    jobs = _watch(config.policies, changed), _rounds(config, services, changed)
    work = [asyncio.create_task(job) for job in jobs]
    try:
        yield
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def reload(config: Config, services: Services) -> None:
    """One round: the policies are published, or the running ones stay. Either is logged, counted and kept."""
    try:
        live = await _proved(config)
    except Exception as fault:  # whatever it is, the house goes on
        services.reload = _refused(config, services.live, fault)
    else:
        services.reload = Reload(time.time(), "accepted")
        before, services.live = services.live, live
        log.info("policies reloaded: %s", _names(live))
        for policy in live.policies.values():
            old = before.policies.get(policy.name)
            if old and old.version == policy.version and old.digest != policy.digest:
                log.warning("%s has changed under its old version; a new one would tell the two apart", policy.label)
    services.metrics.reloads.labels(services.reload.result).inc()


def _refused(config: Config, live: Live, fault: Exception) -> Reload:
    """Logs what is wrong with the files. The words are the policy's and ours: no user's text comes here."""
    faults = [f"the reload broke ({type(fault).__name__})"]
    if isinstance(fault, Unproved | PolicyError):
        faults = [str(one) for one in fault.faults]
    elif isinstance(fault, ConfigFault | OSError):
        faults = [str(fault)]
    more = [f"... and {len(faults) - _TOLD} more"] if len(faults) > _TOLD else []
    log.error("policies refused, these stay: %s\n%s", _names(live), "\n".join(faults[:_TOLD] + more))
    first = faults[0].partition("\n")[0]
    shown = first.replace(f"{config.policies.parent}{os.sep}", "")  # `/readyz` does not tell where the folder is
    return Reload(time.time(), "refused", shown)


def _names(live: Live) -> str:
    return ", ".join(policy.label for policy in live.policies.values())


async def _rounds(config: Config, services: Services, changed: asyncio.Event) -> None:
    while True:
        await changed.wait()
        changed.clear()
        await reload(config, services)


# -- what is noticed ---------------------------------------------------------------------------------------------------


async def _watch(folder: Path, changed: asyncio.Event) -> None:
    """Tells of every change. Whether the folder is polled, as over NFS, is watchfiles' own choice and setting."""
    seen, warned = _which(folder), False
    while True:
        try:
            await _watch_one(folder, seen, changed)
        except (OSError, RuntimeError) as fault:
            if not warned:
                log.warning("%s cannot be watched (%s): until it can, SIGHUP reloads", folder, type(fault).__name__)
            warned = True
            await asyncio.sleep(_LOOK)
        now = _which(folder)
        if now and now != seen:
            warned = False
            changed.set()
        seen = now


async def _watch_one(folder: Path, seen: tuple[int, int] | None, changed: asyncio.Event) -> None:
    """Until another folder stands in its place, as where a link is set anew: of that nothing tells."""
    noticed = awatch(folder, step=_QUIET, rust_timeout=int(_LOOK * 1000), yield_on_timeout=True)
    async with aclosing(noticed):
        async for changes in noticed:
            if changes:
                changed.set()
            if _which(folder) != seen:
                return


def _which(folder: Path) -> tuple[int, int] | None:
    """Which folder it is, whatever links lead there; None where there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


# -- what is published -------------------------------------------------------------------------------------------------


async def _proved(config: Config) -> Live:
    """The policies in service, as their files have them by now.

    Raises `Unproved`, `PolicyError`, `ConfigFault`, `OSError`.
    """
    for _ in range(_TRIES):
        files = await asyncio.to_thread(in_service, config)
        digests = await _prove(files, config.policy_code)
        policies = [await asyncio.to_thread(_load, path, config.policy_code) for path in files]
        if digests == {str(path): policy.digest for path, policy in zip(files, policies, strict=True)}:
            if wrong := unnamed(config, policies):
                raise ConfigFault(wrong)
            if in_production(config) and (wrong := untold(config, policies)):
                raise ConfigFault(wrong)
            return Live.of(*policies)
    raise Unproved([f"{config.policies}: the files changed whenever they were checked"])


def _load(path: Path, code: bool) -> Policy:
    """Loads without a collection of garbage: one that walks through half a policy stops every turn for 0.1 s."""
    gc.disable()
    try:
        return load_policy(path, code=code)
    finally:
        gc.enable()


async def _prove(files: Sequence[Path], code: bool) -> dict[str, str]:
    """The digests, by file, that a process of its own answers with. Raises `Unproved`."""
    with tempfile.NamedTemporaryFile(prefix="kindrail-") as answer:
        ended = await _run("proxy.proof", *(["--code"] if code else []), answer.name, *map(str, files))
        try:
            told: dict[str, Any] = orjson.loads(answer.read())
        except orjson.JSONDecodeError:
            raise Unproved([f"the check broke (exit code {ended}): `kindrail test` shows why"]) from None
    if "faults" in told:
        raise Unproved(told["faults"])
    return dict(told["digests"])


async def _run(module: str, *arguments: str) -> int:
    """Runs the module in a process that imports what we import; gives its exit code. Raises `Unproved` if it is late.

    The group of processes is its own, so that what it started ends with it, and Ctrl-C leaves its end to us.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, *arguments),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    try:
        async with asyncio.timeout(_LIMIT):
            return await child.wait()
    except TimeoutError:
        raise Unproved([f"the check took longer than {_LIMIT:.0f} seconds"]) from None
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
