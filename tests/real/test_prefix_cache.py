"""A guarded conversation finds vLLM's prefix cache warm: what the house makes of a prompt only grows at its end.

Steering notes, stand-ins in the history, sentences that were replaced, a stop: each would spoil it if the house wrote
the same past in another way the next time. vLLM tells how many tokens of a prompt it had in its cache.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from secrets import token_hex

import pytest
from house import assistant, house, shipped

from proxy.policy.schema import History

pytestmark = pytest.mark.real

BLOCK = 128  # tokens: vLLM caches in whole blocks, and has them of this size on a CPU
TALK = [  # what the child says, and what the model says
    ("Hello, let's play", "Hi there! Let's sing about the moon."),
    ("my name is Tommy", "Hello my friend! Shall we sing?"),
    ("yes, sing it", "The bear walks to the pond. What's your name? It is blue."),
    ("can i light a real candle", "We can draw one. It glows so warm."),
    ("my mum's number is 212-555-0147", "Write to me at buddy@example.com, my friend."),
    ("tell me about the fox", "The fox naps. The fox naps. It dreams of plums."),
    ("what does it eat", "One plum. Two plums. Three plums. Four plums. Five plums."),
    ("stop!", "This is not heard: the house says goodbye itself."),
    ("mmh", "The bear naps. Shall we play? It is warm."),
    ("a new story please", "Once the bear found a song."),
]


@dataclass(frozen=True)
class Asked:
    """One turn as vLLM counted it, in tokens."""

    prompt: int
    cached: int


def buddy(history=None):
    """kids-buddy, whose answers may have as many tokens as the tiny model needs for them."""
    policy = shipped("kids-buddy")
    return replace(policy, model=policy.model.model_copy(update={"max_tokens": 3000, "history": history or History()}))


async def played(home, talk):
    """The turns of a conversation for which the model was asked; each request brings the whole history."""
    # Words of its own, so that no other conversation has filled the cache with it.
    messages, turns = [{"role": "system", "content": f"This is play {token_hex(8)}."}], []
    for user, says in talk:
        messages.append({"role": "user", "content": user})
        answer = (await home.ask(*messages, structured_outputs={"choice": [says]})).json()
        usage = answer["usage"]
        if usage["prompt_tokens"]:
            turns.append(Asked(usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]))
        messages.append(assistant(answer["choices"][0]["message"]["content"]))
    return turns


def is_warm(earlier, turn, note):
    """Whether all that the turn before asked was cached, but for its note, which stays out of the history."""
    return turn.cached > earlier.prompt - note - BLOCK


async def test_turn_ten_finds_nearly_all_of_the_earlier_prompt_cached(vllm):
    policy = buddy()
    note = max(vllm.tokens(f"\n\n({policy.note(key, 'en')})") for key in policy.steer)
    async with house(policy=policy, backend_url=vllm.url) as home:
        before = vllm.metric("vllm:prefix_cache_hits_total")
        turns = await played(home, TALK)
        hits = vllm.metric("vllm:prefix_cache_hits_total") - before
        heard = [verdict["rail"] for turn in await home.audit() for verdict in turn.closed["verdicts"]]
    assert {"stop", "hide-private", "asks-private", "repeat", "clamp"} <= set(heard)  # the house had enough to do
    assert len(turns) == len(TALK) - 1
    assert hits == sum(turn.cached for turn in turns)
    assert all(is_warm(*two, note) for two in pairwise(turns))
    assert turns[-1].cached > 0.8 * turns[-2].prompt


async def test_with_a_bound_on_the_history_most_turns_find_it_cached_too(vllm):
    policy = buddy(History(tokens=400))
    note = max(vllm.tokens(f"\n\n({policy.note(key, 'en')})") for key in policy.steer)
    async with house(policy=policy, backend_url=vllm.url) as home:
        turns = await played(home, TALK * 3)
    warm = [is_warm(*two, note) for two in pairwise(turns)]
    blocks = warm.count(False)  # as often as old turns went
    assert 2 <= blocks <= len(turns) / 6
    assert min(turn.cached for turn in turns[1:]) >= 2 * BLOCK  # the system text stays
    assert max(turn.prompt for turn in turns[-10:]) < 1.5 * turns[9].prompt  # it does not grow any more
