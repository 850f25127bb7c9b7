"""How often the house interferes where nothing is wrong: the calm conversations, turn by turn, with a whole policy.

`python -m training.calm [policy]` prints, for each language, the turns that were changed or answered by the house, per
turn and per session of forty turns, and which rail it was.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from proxy.policy.explain import Side, conversation, explain
from proxy.policy.load import load_policy
from proxy.policy.model import Policy
from proxy.turn import Act
from training.data import HERE, LANGUAGES

Said = Sequence[tuple[Side, str]]
_CALM = HERE / "calm"
_SESSION = 40  # turns


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "kids-buddy"
    policy = load_policy(HERE.parent / "policies" / f"{name}.yaml")
    for line in table(policy):
        print(line)


def table(policy: Policy) -> Iterator[str]:
    """Rows of the card."""
    yield "| language | turns | the house spoke or changed | in a session of forty turns | by which rails |"
    yield "|---|---|---|---|---|"
    for language in LANGUAGES:
        files = sorted(_CALM.glob(f"{language}-*.txt"))
        turns, touched = 0, Counter[str]()
        for file in files:
            said = conversation(file.read_text("utf-8").splitlines())
            count, by = asyncio.run(_interfered(policy, said, language))
            turns += count
            touched += by
        share = touched.total() / max(1, turns)
        rails = ", ".join(f"{rail} {count}" for rail, count in touched.most_common())
        yield f"| {language} | {turns} | {share:.3f} | {share * _SESSION:.2f} | {rails} |"


async def _interfered(policy: Policy, said: Said, language: str) -> tuple[int, Counter[str]]:
    """The turns of one conversation, and the rail that first changed each message that was changed."""
    turns, touched = 0, Counter[str]()
    for message in await explain(policy, said, language):
        turns += message.role == "user"
        found = (one for one in message.outcome.findings if one.won and one.mode == "enforce")
        changed = [one.rail for one in found if one.verdict.act is not Act.PASS]
        touched.update(changed[:1])
    return turns, touched


if __name__ == "__main__":
    main()
