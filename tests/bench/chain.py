"""What the input side of a child policy costs: `make bench-chain`. All rails of kids-buddy, with a turn before it.

Messages of sixty characters, glued from the frozen ordinary sentences: each is said once, and most of its words have
been heard before, as on a server that has been up for a while. Figures are CPU time of this
process for one message, in milliseconds: of the whole chain the median, so that other work on the machine counts
little; of each rail the mean, in a run of its own. Exit code 1 where the median misses the goal.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections import Counter
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.table import Table

from proxy.config import SHIPPED_POLICIES
from proxy.line import Line
from proxy.memo import Memo
from proxy.policy.load import load_policy
from proxy.policy.model import Policy
from proxy.turn import Heard, Segment, Turn

ORDINARY = Path(__file__).parents[2] / "rails" / "_learned" / "frozen" / "ordinary"
GOAL = 1.0  # CPU ms
CHARACTERS = 60
BEFORE = {
    "en": "The little bear walks down to the river and finds a red boat with a hole. How can we help him to mend it?",
    "it": "L'orsetto scende al fiume e trova una barca rossa con un buco. Come possiamo aiutarlo ad aggiustarla?",
    "ko": "아기 곰이 강으로 내려가서 구멍 난 빨간 배를 찾았어. 우리가 어떻게 하면 배를 고칠 수 있을까?",
}
_numbers = count()


def main() -> None:
    policy = load_policy(SHIPPED_POLICIES / "kids-buddy.yaml")
    medians, rails = {}, {}
    for language in policy.languages:
        said = _messages(language)
        asyncio.run(_chain(policy, _messages(language, (3, 5, 17)), language))
        medians[language] = asyncio.run(_chain(policy, said, language))
        rails[language] = asyncio.run(_rails(policy, _messages(language, (19, 23, 29)), language))
    table = Table("CPU ms a message", *policy.languages)
    for name in rails["en"]:
        table.add_row(name, *(f"{rails[language][name]:.3f}" for language in policy.languages))
    table.add_row(f"the whole chain, median; goal {GOAL}", *(f"{ms:.3f}" for ms in medians.values()))
    Console().print(table)
    sys.exit(max(medians.values()) > GOAL)


def _messages(language: str, steps: tuple[int, ...] = (7, 11, 13)) -> list[str]:
    known = (ORDINARY / f"{language}.tsv").read_text("utf-8").splitlines()
    glued = (
        " ".join([one, *(known[number * step % len(known)] for step in steps)]) for number, one in enumerate(known)
    )
    return [one[:CHARACTERS] for one in glued if len(one) >= CHARACTERS]


async def _chain(policy: Policy, said: list[str], language: str) -> float:
    """The median over the messages, each in a turn of its own; what it spends is CPU time of this process."""
    costs = []
    for text in said:
        line = Line(policy, _turn(text, language), Memo())
        begun = time.process_time()
        await line.hear([Heard("user", text)])
        costs.append((time.process_time() - begun) * 1000)
    return statistics.median(costs)


async def _rails(policy: Policy, said: list[str], language: str) -> Counter[str]:
    """The mean of each rail, in their order: the first that asks the learned model pays for what the others share."""
    costs: Counter[str] = Counter()
    for text in said:
        segment = Segment("user", text, _turn(text, language))
        for bound in policy.rails:
            if "user" in bound.content:
                begun = time.process_time()
                await bound.rail.check(segment)
                costs[bound.id] += (time.process_time() - begun) * 1000 / len(said)
    return costs


def _turn(text: str, language: str) -> Turn:
    return Turn(f"t{next(_numbers)}", language, now=1e9, user=text, history=(Heard("assistant", BEFORE[language]),))


if __name__ == "__main__":
    main()
