"""A backend that says what it is told."""

import asyncio
import json

from proxy.turn import Delta

SAFE = "The bear sat by the moon. It was calm."


class Model:
    """A backend that says what it is told, one word an event, and remembers what it was asked."""

    def __init__(self, *answers, delay=0.0):
        self.answers, self.delay, self.asked, self.closed = list(answers), delay, [], 0

    async def knows(self, model):
        return frozenset({"repetition_penalty"})

    async def stream(self, ask):
        self.asked.append(ask.body)
        words = self.answers[min(len(self.asked), len(self.answers)) - 1].split(" ")
        try:
            for number, word in enumerate(words):
                await asyncio.sleep(self.delay)
                yield event({"content": word if number == 0 else f" {word}"})
            yield event({}, "stop")
        finally:
            self.closed += 1

    async def models(self):
        return {"object": "list", "data": []}

    async def close(self):
        pass


def event(delta, finish=None):
    body = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return Delta(json.dumps(body).encode(), body)
