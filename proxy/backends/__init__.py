"""The model servers, one file each: `openai.py` for those with an address, `scripted.py` for the demo without one,
`litellm.py` for other providers, and `fleet.py` for several of them.
"""

from __future__ import annotations

from typing import Any

from proxy.backends._member import Member
from proxy.backends.fleet import Fleet
from proxy.backends.litellm import LiteLLMBackend
from proxy.backends.openai import OpenAIBackend
from proxy.backends.scripted import ScriptedBackend
from proxy.config import BackendEntry, Config
from proxy.turn import Backend

__all__ = ["open_backend"]


def open_backend(config: Config) -> Backend:
    """The servers of `backends`, or the one at `backend_url`; without either the scripted buddy.

    Raises `ValueError` for an impossible url.
    """
    if config.backends:
        return Fleet([_member(config, index, entry) for index, entry in enumerate(config.backends)])
    if not config.backend_url:
        return ScriptedBackend()
    return OpenAIBackend(
        config.backend_url,
        config.backend_api_key,
        kind=config.backend_kind,
        connect=config.connect_timeout,
        first_event=config.first_token_timeout,
        between_events=config.between_tokens_timeout,
    )


def _member(config: Config, index: int, entry: BackendEntry) -> Member:
    return Member(
        f"backends[{index}]",
        _server(config, entry),
        tuple(entry.models),
        entry.rename,
        entry.weight,
        entry.concurrency,
    )


def _server(config: Config, entry: BackendEntry) -> Backend:
    """The entry's own server; what it does not say is said for all."""
    patience: dict[str, Any] = {
        "first_event": entry.first_token_timeout or config.first_token_timeout,
        "between_events": entry.between_tokens_timeout or config.between_tokens_timeout,
    }
    if entry.kind == "litellm":
        names = {
            entry.rename.get(name, name): None for name in (*entry.models, *entry.rename) if not set(name) & set("*?[")
        }
        return LiteLLMBackend(entry.url, entry.api_key, names=names, **patience)
    connect = entry.connect_timeout or config.connect_timeout
    return OpenAIBackend(entry.url, entry.api_key, kind=entry.kind, connect=connect, **patience)
