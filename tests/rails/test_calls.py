"""A policy's own functions run in threads of their own: stuck ones hold up nobody else, and none outlives its policy."""

import asyncio
import gc
import threading

import pytest
from colang_source import folder

from proxy.turn import RailFault
from rails._colang.runner import Context, FlowFault, Runner

SECRET = "the words of a child"
THREAD = "kindrail-policy-code"
WAITS = "define subflow x\n  execute waits"


def policy_threads():
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


async def gone(threads):
    """Whether all of them end, once nothing is left of those who called."""
    for _ in range(500):
        gc.collect()
        if not any(thread.is_alive() for thread in threads):
            return True
        await asyncio.sleep(0.01)
    return False


async def test_functions_that_are_stuck_keep_their_own_threads_only():
    """Sixty: more than asyncio has threads for everything else."""
    begun, end = set(policy_threads()), threading.Event()
    stuck = Runner(folder(WAITS, functions={"waits": end.wait}), {"waits": end.wait})
    async with asyncio.TaskGroup() as group:
        for _ in range(60):
            group.create_task(stuck.run("x", Context(), {}))
        await asyncio.sleep(0)
        try:
            assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 5) == "free"
            threads = set(policy_threads()) - begun
            assert len(threads) == 8
            assert all(thread.daemon for thread in threads)
        finally:
            end.set()
    del stuck, group
    assert await gone(threads)


async def test_who_waits_no_more_is_not_served():
    calls, end = [], threading.Event()

    def waits():
        calls.append(1)
        end.wait()

    late = Runner(folder(WAITS, functions={"waits": waits}), {"waits": waits})
    tasks = [asyncio.create_task(late.run("x", Context(), {})) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    end.set()
    threads = policy_threads()
    del late, task, tasks
    assert await gone(threads)
    assert len(calls) <= 8


@pytest.mark.parametrize("error", [ValueError, StopIteration, SystemExit, GeneratorExit, KeyboardInterrupt])
async def test_whatever_the_policys_own_function_raises_is_a_fault(error):
    def waits():
        raise error(SECRET)

    own = Runner(folder(WAITS, functions={"waits": waits}), {"waits": waits})
    with pytest.raises(FlowFault, match=rf"action `waits` failed \({error.__name__}\)"):
        await asyncio.wait_for(own.run("x", Context(), {}), 5)


class Told(RailFault):
    """What one of Kindrail's own actions says of itself."""


def raises(error):
    async def waits():
        raise error

    return waits


async def cancels_its_own():
    task = asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task


HARSH = [
    *[(raises(error(SECRET)), f"action `waits` failed ({error.__name__})")
      for error in (SystemExit, GeneratorExit, KeyboardInterrupt, asyncio.CancelledError)],
    (cancels_its_own, "action `waits` failed (CancelledError)"),
    (raises(Told("pattern 1 took too long")), "pattern 1 took too long"),
]  # fmt: skip


@pytest.mark.parametrize("waits", [one for one, _ in HARSH])
async def test_what_would_end_the_house_is_a_fault(waits):
    told = dict(HARSH)[waits]
    with pytest.raises(FlowFault) as caught:
        await Runner(folder(WAITS), {"waits": waits}).run("x", Context(), {})
    assert str(caught.value) == f"flow `x` (house.co:2): {told}"


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
async def test_what_would_end_the_house_is_a_fault_from_a_thread_too(error):
    def waits():
        raise error(SECRET)

    own = Runner(folder(WAITS, functions={"waits": waits}), {"waits": waits})
    with pytest.raises(FlowFault, match=rf"action `waits` failed \({error.__name__}\)"):
        await asyncio.wait_for(own.run("x", Context(), {}), 5)


async def test_a_turn_that_is_ended_ends():
    task = asyncio.ensure_future(Runner(folder(WAITS), {"waits": lambda: asyncio.sleep(60)}).run("x", Context(), {}))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
