"""The model servers, one file each: `openai.py` for those with an address, `scripted.py` for the demo without one."""

from proxy.backends.openai import OpenAIBackend
from proxy.backends.scripted import ScriptedBackend
from proxy.config import Config
from proxy.turn import Backend

__all__ = ["open_backend"]


def open_backend(config: Config) -> Backend:
    """The backend at `backend_url`; without one the scripted buddy. Raises `ValueError` for an impossible url."""
    if not config.backend_url:
        return ScriptedBackend()
    return OpenAIBackend(
        config.backend_url,
        config.backend_api_key,
        connect=config.connect_timeout,
        first_event=config.first_token_timeout,
        between_events=config.between_tokens_timeout,
    )
