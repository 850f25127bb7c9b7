"""The model servers, one file each: `openai.py` for those with an address, `scripted.py` for the demo without one,
`litellm.py` for other providers, and `fleet.py` for several of them.
"""

from __future__ import annotations

from typing import Any

from proxy.backends._alone import Alone
from proxy.backends._member import Member
from proxy.backends.fleet import Fleet
from proxy.backends.litellm import LiteLLMBackend
from proxy.backends.openai import OpenAIBackend
from proxy.backends.scripted import ScriptedBackend
from proxy.config import BackendEntry, Config, resolved
from proxy.turn import Backend

__all__ = ["open_backend"]


def open_backend(config: Config) -> Backend:
    """The servers of `backends`, or the one at `backend_url`; without either the scripted buddy.

    Raises `ValueError` for an impossible url, `ConfigFault` for a key whose variable is not set.
    """
    if config.backends:
        return Fleet([_member(config, index, entry) for index, entry in enumerate(config.backends)])
    if not config.backend_url:
        return ScriptedBackend()
    server = OpenAIBackend(
        config.backend_url,
        resolved("backend_api_key", config.backend_api_key),
        kind=config.backend_kind,
        connect=config.connect_timeout,
        first_event=config.first_token_timeout,
        between_events=config.between_tokens_timeout,
    )
    place = config.backend_url.rpartition("//")[2].rpartition("@")[2]  # without credentials
    return Alone(f"the model server of KINDRAIL_BACKEND_URL ({place})", server)


def _member(config: Config, index: int, entry: BackendEntry) -> Member:
    place = f"backends[{index}]"
    patience: dict[str, Any] = {  # what an entry does not say is said for all
        "first_event": entry.first_token_timeout or config.first_token_timeout,
        "between_events": entry.between_tokens_timeout or config.between_tokens_timeout,
    }
    return Member(
        place,
        _server(config, entry, resolved(f"{place}.api_key", entry.api_key), patience),
        tuple(entry.models),
        entry.rename,
        entry.weight,
        entry.concurrency,
        patience["first_event"],
        asked_for_list=entry.kind != "litellm",
    )


def _server(config: Config, entry: BackendEntry, key: str, patience: dict[str, Any]) -> Backend:
    if entry.kind == "litellm":
        names = {
            entry.rename.get(name, name): None for name in (*entry.models, *entry.rename) if not set(name) & set("*?[")
        }
        return LiteLLMBackend(entry.url, key, names=names, **patience)
    connect = entry.connect_timeout or config.connect_timeout
    return OpenAIBackend(entry.url, key, kind=entry.kind, connect=connect, **patience)
