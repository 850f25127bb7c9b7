"""The houses that the clients come to."""

from dataclasses import replace

from house import house

from proxy.backends.scripted import ScriptedBackend
from proxy.config import KeyEntry
from proxy.keyring import hashed

KEY = "My API Key"  # the one that openai-python's own tests send
_ALLOWED = ["audio", "functions", "prediction", "web_search_options", "top_logprobs", "echo", "suffix"]
_NEVER_SET = ("max_tokens", "max_completion_tokens")  # openai-python's tests have 0 here, to which the buddy says no


class Anything(ScriptedBackend):
    """The buddy under whatever name, which takes whatever it is asked."""

    def stream(self, ask):
        body = {name: value for name, value in ask.body.items() if name not in _NEVER_SET}
        return super().stream(replace(ask, body={**body, "model": "buddy"}))

    async def whole(self, ask):
        vectors = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        usage = {"prompt_tokens": 9, "total_tokens": 9}
        return {"object": "list", "model": ask.model, "data": vectors, "usage": usage}

    async def models(self):
        model = {"id": "gpt-6-astra", "object": "model", "created": 0, "owned_by": "openai"}
        return {"object": "list", "data": [model]}


def adults(backend=None, allow=()):
    """A house for adult apps, behind one key."""
    entry = KeyEntry(id="clients", hash=hashed(KEY), allow=list(allow))
    return house(backend or ScriptedBackend(delay=0), policy="general", keys=[entry])


def open_house():
    """One that lets through whatever a policy leaves to keys, to a model that takes it."""
    return adults(Anything(delay=0), _ALLOWED)


def children():
    """A house for children; its door is open."""
    return house(ScriptedBackend(delay=0), policy="kids-buddy")
