"""What Colang flows cost: `make bench-colang`. The real rail, and NeMo's `check_async` on the same flows, in one run.

Figures are CPU time of this process per check, in milliseconds: the median over batches, so that other work on the
machine counts little. Exit code 1 where a goal is missed.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from proxy.turn import Act, Heard, House, Phrases, Segment, Turn, plain
from rails._colang.nemo import RailsConfig
from rails.colang import Rail, RailOptions

from nemoguardrails import LLMRails  # isort: skip - ours first, which makes it quiet
from nemoguardrails.rails.llm.options import RailType  # isort: skip

Check = Callable[[], Awaitable[None]]
FLOWS = 10
BATCHES, SIZE = 21, 100  # of our checks
THEIR_BATCHES, THEIR_SIZE = 5, 3  # NeMo's are up to a thousand times slower
TOGETHER = 50
LONGEST = 20.0  # CPU ms that something else on the event loop may have to wait
WORDS = Phrases({"en": ["our secret", "never tell"]})
FLOW = '''
define subflow house rule {n}
  """A rule of the house."""
  $found = execute phrases(list="secrets", text=$user_message)
  if $found.found
    bot refuse secrets
    stop
'''
SOURCE = 'define bot refuse secrets\n  "That is theirs to tell."\n' + "".join(FLOW.format(n=n) for n in range(FLOWS))
SOURCE += """
define subflow reads history
  $found = execute phrases(list="secrets", text=$user_message)
  if $found.found or len($history) > 500
    stop
"""
FINE, BAD = "What shall we play today, number {}?", "Tell me our secret number {}!"
_number = itertools.count()


@dataclass(frozen=True)
class Row:
    """One line of the table: our check, NeMo's, and what ours may cost."""

    name: str
    ours: Check
    theirs: Check | None
    goal: float | None  # None: a fifth above the row of `beside`
    beside: int = 0


def listed(flows: int) -> list[str]:
    """The first so many flows; none: the one that reads the conversation."""
    return [f"house rule {n}" for n in range(flows)] or ["reads history"]


def rail(folder: Path, flows: int, text: str, messages: int = 1) -> Check:
    """A check of a turn's last message by the real rail, as the line asks it: every time another turn, another text."""
    house = House(languages=("en",), phrases={"secrets": WORDS}, folder=folder)
    built = Rail("flows", RailOptions(folder="flows", input=listed(flows), output=[]), house)
    history = tuple(Heard("user" if n % 2 else "assistant", f"message {n}") for n in range(messages - 1))
    act = Act.END if text == BAD else Act.PASS

    async def check() -> None:
        said = text.format(next(_number))
        turn = Turn(id="t", language="en", user=said, history=history)
        verdict = await built.check(Segment("user", said, turn, last=True))
        if verdict.act is not act:
            raise AssertionError(f"{verdict.act} where {act} was to come")

    return check


def nemo(flows: int, text: str, messages: int = 1) -> Check:
    """The same by NeMo's `check_async`, which reads the conversation from its messages."""
    config = RailsConfig.from_content(
        colang_content=SOURCE, config={"models": [], "rails": {"input": {"flows": listed(flows)}}}
    )
    rails = LLMRails(config)
    rails.register_action(phrases)
    history = [{"role": "user" if n % 2 else "assistant", "content": f"message {n}"} for n in range(messages - 1)]
    status = "blocked" if text == BAD else "passed"

    async def check() -> None:
        messages = [*history, {"role": "user", "content": text.format(next(_number))}]
        result = await rails.check_async(messages, rail_types=[RailType.INPUT])
        if result.status.value != status:
            raise AssertionError(f"{result.status} where {status} was to come")

    return check


async def phrases(list: str, text: str) -> Mapping[str, bool]:
    """The action for NeMo: what ours does, without the memory of a turn."""
    return {"found": any(WORDS.hits(plain(text)))}


async def cost(checks: list[Check], batches: int, size: int) -> list[float]:
    """The median CPU milliseconds of each check; the batches take turns, so that a busy moment hits all alike."""
    taken: list[list[float]] = [[] for _ in checks]
    for _ in range(batches + 1):
        for check, times in zip(checks, taken, strict=True):
            start = time.process_time()
            for _ in range(size):
                await check()
            times.append((time.process_time() - start) / size * 1000)
    return [statistics.median(times[1:]) for times in taken]  # the first warms up


async def gap(check: Check, rounds: int) -> float:
    """The longest that something else on the event loop waits while checks run side by side, in CPU milliseconds."""
    longest = last = 0.0

    async def tick() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(0)
            now = time.process_time()
            longest, last = max(longest, now - last), now

    ticker = asyncio.create_task(tick())
    gaps = []
    for _ in range(rounds):
        longest, last = 0.0, time.process_time()
        await asyncio.gather(*(check() for _ in range(TOGETHER)))
        gaps.append(longest * 1000)
    ticker.cancel()
    return statistics.median(gaps)


async def main() -> int:
    """Prints the table; how many goals are missed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "flows").mkdir()
        (folder / "flows" / "house.co").write_text(SOURCE, "utf-8")
        rows = [
            # those without NeMo's come last
            Row("one flow passes", rail(folder, 1, FINE), nemo(1, FINE), 0.2),
            Row("ten flows pass", rail(folder, FLOWS, FINE), nemo(FLOWS, FINE), 2.0),
            Row("one flow refuses", rail(folder, 1, BAD), nemo(1, BAD), 1.5),
            Row("after 100 messages", rail(folder, 1, FINE, 100), nemo(1, FINE, 100), None),
            Row("a flow that reads $history", rail(folder, 0, FINE), None, 0.2),
            Row("... after 100 messages", rail(folder, 0, FINE, 100), None, None, beside=4),
        ]
    ours = await cost([row.ours for row in rows], BATCHES, SIZE)
    theirs = await cost([row.theirs for row in rows if row.theirs], THEIR_BATCHES, THEIR_SIZE)
    table = Table("CPU ms a check", "kindrail", "goal", "NeMo check_async", "times", "")
    missed = 0

    def add(name: str, figure: float, goal: float, nemo: float | None) -> None:
        nonlocal missed
        missed += figure > goal
        beside = (f"{nemo:.2f}", f"{nemo / figure:.0f}") if nemo else ("", "")
        table.add_row(name, f"{figure:.3f}", f"{goal:.3f}", *beside, "ok" if figure <= goal else "MISSED")

    for row, figure, nemos in itertools.zip_longest(rows, ours, theirs):
        add(row.name, figure, row.goal or ours[row.beside] * 1.2, nemos)
    waited, waits = await gap(rows[1].ours, BATCHES), await gap(nemo(FLOWS, FINE), 1)
    add(f"longest gap while {TOGETHER} run, ten flows each", waited, LONGEST, waits)
    Console(width=120).print(table)
    return missed


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(main()) else 0)
