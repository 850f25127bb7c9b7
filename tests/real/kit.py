"""What the conversations with a real vLLM have in common.

`structured_outputs.choice` makes the server say exactly a given text. Its random weights spell that text in other
tokens each time, so every run is cut in other places. `roomy` is a shipped policy with a higher `max_tokens`, because
the tiny model's tokens are a letter or two: 120 of them do not make four sentences; and with patience for rails that
share a small machine with the model. Nothing else of it differs.
"""

import asyncio
import time
from dataclasses import replace

from house import shipped, text_of

LONG = " ".join(f"The bear finds stone number {n} beside the little pond and sings." for n in range(1, 51))
STREAMS = 3  # of each text: every one is cut in other places


def roomy(name="kids-buddy", **changed):
    policy = shipped(name)
    model = policy.model.model_copy(update={"max_tokens": 3000})
    return replace(policy, **{"model": model, "late_after": 30.0, **changed})


def saying(*texts):
    """The part of a request that makes the server say one of these."""
    return {"structured_outputs": {"choice": list(texts)}}


def filled(text, policy, lang):
    """`text` with the policy's first line in the place of each `{key}`, and its stand-in in that of an `{ENTITY}`."""
    lines = {key: policy.line(key, lang) for key in policy.say}
    stand_ins = {entity: policy.stand_in(entity, lang) for entity in ("EMAIL_ADDRESS", "PHONE_NUMBER")}
    return text.format(**lines, **stand_ins)


async def every_way(home, *messages, session="", **body):
    """The answer's text, which is the same whole and streamed, however the stream is cut."""
    headers = [{"x-kindrail-session": f"{session}{way}"} if session else None for way in range(STREAMS + 1)]
    texts = {(await home.ask(*messages, headers=headers[0], **body)).json()["choices"][0]["message"]["content"]}
    for way in headers[1:]:
        texts.add(text_of(await home.stream(*messages, headers=way, **body)))
    (text,) = texts
    return text


async def until(condition, seconds):
    """Waits for what shall be true soon."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        await asyncio.sleep(0.05)


def counted(vllm):
    """The tokens that the server has read, and those that it has made, until now."""
    return vllm.metric("vllm:prompt_tokens_total"), vllm.metric("vllm:generation_tokens_total")


def tries(most=6):
    """Tries of what must be quicker than the model: where processors are scarce it may end before anybody reads.

    Leave the loop with `break`; who does not has failed.
    """
    yield from range(most)
    raise AssertionError(f"the model ran to its end {most} times")
