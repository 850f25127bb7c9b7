"""What the operator sets: `KINDRAIL_*` in the environment, or the same names in `kindrail.yaml`.

The environment wins.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proxy.turn import Seconds

SHIPPED_POLICIES = Path(__file__).parent.parent / "policies"
_PREFIX = "KINDRAIL_"


class ConfigFault(Exception):
    """The configuration cannot be used; the text names each setting and what it must be."""


class Config(BaseModel):
    """The settings. Each is a field of `kindrail.yaml`, and in capitals behind `KINDRAIL_` an environment variable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend_url: str = Field("", description="the model server, with or without /v1; empty: the scripted demo buddy")
    backend_api_key: str = Field("", description="the key that the model server wants, if any", repr=False)
    redis_url: str = Field("", description="a Redis or Valkey by URL; empty: the embedded one", repr=False)
    policies: Path = Field(SHIPPED_POLICIES, description="the folder of policies")
    policy: str = Field("kids-buddy", description="the policy that every request is held to")
    host: str = Field("127.0.0.1", description="the address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="the port to listen on")
    admin_port: int | None = Field(
        None, ge=0, le=65535, description="a port of its own for /metrics, so that apps cannot read it"
    )
    data: Path = Field(Path(".kindrail"), description="the state folder: the embedded store and the generated secret")
    secret_file: Path | None = Field(None, description="the master secret; left out: generated in the state folder")
    max_body: int = Field(2 * 1024 * 1024, ge=1024, description="the largest request body, in bytes")
    connect_timeout: Seconds = Field(5.0, description="how long the model server may take to accept a connection")
    first_token_timeout: Seconds = Field(60.0, description="how long it may take to begin its answer")
    between_tokens_timeout: Seconds = Field(30.0, description="how long it may be silent within an answer")
    keep_alive: Seconds = Field(15.0, description="after how much silence a stream gets an SSE comment")


def load_config(file: Path | None = None, environment: Mapping[str, str] = os.environ, **given: object) -> Config:
    """The configuration from `file`, over it the environment, over it what the command line gave (None: not given).

    Raises `ConfigFault`, naming every setting at fault and where it was set.
    """
    settings: dict[str, object] = _from_file(file) if file else {}
    sources = {name: f"{file}: {name}" for name in settings}
    for name in Config.model_fields:
        value = environment.get(_PREFIX + name.upper())
        if value:
            settings[name], sources[name] = value, _PREFIX + name.upper()
    for name, option in given.items():
        if option is not None:
            settings[name], sources[name] = option, f"--{name.replace('_', '-')}"
    try:
        return Config.model_validate(settings)
    except ValidationError as fault:
        lines = [
            f"{sources.get(str(e['loc'][0]), str(e['loc'][0]))}: {e['msg']}" for e in fault.errors(include_input=False)
        ]
        raise ConfigFault("\n".join(lines)) from None


def _from_file(file: Path) -> dict[str, object]:
    """The settings of a file, every one still text. Raises `ConfigFault`."""
    try:
        settings = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506  # builds text alone
    except OSError as fault:
        raise ConfigFault(f"{file}: cannot be read ({fault.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as fault:  # its own words may quote a key that stands in the file
        mark = getattr(fault, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ConfigFault(f"{file}: not YAML in UTF-8{place}; put a value with special characters in quotes") from None
    if not isinstance(settings, dict):
        raise ConfigFault(f"{file}: must be a mapping of settings, such as `port: 8080`")
    return settings
