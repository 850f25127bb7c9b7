"""What the operator sets: `KINDRAIL_*` in the environment, or the same names in `kindrail.yaml`.

The environment wins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from proxy.faults import nearest
from proxy.policy.schema import Parts
from proxy.turn import Seconds
from proxy.wire import completions, request

SHIPPED_POLICIES = Path(__file__).parent.parent / "policies"
_PREFIX = "KINDRAIL_"
OPENABLE = frozenset({*request.REFUSED, *completions.REFUSED, *Parts.model_fields})  # what a key can open
# Between two servers these are each hop's own (RFC 9110, section 7.6.1), are about a body that is written anew, or tell
# who somebody is.
_STAYS_HERE = re.compile(
    "(proxy-|content-|accept).*|authorization|cookie|host|connection|keep-alive|te|trailer|transfer-encoding"
    "|upgrade|expect",
    re.IGNORECASE,
)
_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)  # RFC 9110, section 5.1
_PRIVATE_WAY = re.compile(r"https://[^/]|http://(localhost|127\.0\.0\.1|\[::1\])[:/]|\$\{\w+\}")


class ConfigFault(Exception):
    """The configuration cannot be used; the text names each setting and what it must be."""


class Entry(BaseModel):
    """One entry of a list in `kindrail.yaml`: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BackendEntry(Entry):
    """One model server."""

    url: str = Field("", description="its address, with or without /v1; `kind: litellm` needs none", repr=False)
    kind: Literal["auto", "vllm", "tgi", "openai", "litellm"] = Field("auto", description="auto: it is asked")
    api_key: str = Field(
        "", description="the key that it wants; in the place of `${NAME}` comes that variable", repr=False
    )
    models: list[str] = Field([], description="globs on the models it serves; left out: those that it lists")
    rename: dict[str, str] = Field({}, description="an app's name of a model -> the server's")
    weight: int = Field(1, ge=1, description="its share of the requests that several servers could answer")
    concurrency: int | None = Field(None, ge=1, description="the most requests it gets at once")
    connect_timeout: Seconds | None = Field(None, description="its own, in the place of the general one")
    first_token_timeout: Seconds | None = Field(None, description="its own, in the place of the general one")
    between_tokens_timeout: Seconds | None = Field(None, description="its own, in the place of the general one")

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if url and not re.match(r"https?://[^/]", url):
            raise ValueError("must be an http(s) address, as in http://gpu-1:8000")
        return url

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.kind == "litellm" and not self.models:
            raise ValueError("a `kind: litellm` needs its `models`: no provider is asked for a list")
        if self.kind != "litellm" and not self.url:
            raise ValueError("needs a `url`, as in http://gpu-1:8000; only `kind: litellm` can do without")
        return self


class Limits(Entry):
    """What one key may use. Left out: no limit."""

    requests: int | None = Field(None, ge=1, description="requests a minute")
    tokens: int | None = Field(None, ge=1, description="tokens a minute, prompt and answer together")
    concurrency: int | None = Field(None, ge=1, description="requests at once")
    body: int | None = Field(None, ge=1024, description="the largest request body, in bytes; never above `max_body`")


def _can_be_opened(name: str) -> str:
    if name not in OPENABLE:
        hint = nearest(name, OPENABLE) or f"there are {', '.join(sorted(OPENABLE))}"
        raise ValueError(f"is nothing that a key can open: {hint}")
    return name


def _can_pass(header: str) -> str:
    if not _HEADER.fullmatch(header):
        raise ValueError("is no name of a header: one is written as in x-team")
    if _STAYS_HERE.fullmatch(header):
        raise ValueError("never reaches the model server: it is about the app's own login, connection or body")
    return header


class KeyEntry(Entry):
    """One API key: who comes with it, and what it opens."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="its name in the audit and the metrics")
    hash: str = Field(
        pattern=r"^sha256:[0-9a-f]{64}$", description="what `kindrail key new` prints; never the key", repr=False
    )
    tenant: str = Field(
        "default", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="whose sessions and records these are"
    )
    policy: str = Field("", description="the policy its requests are held to; left out: the general one")
    models: list[str] = Field(["*"], description="globs on the models it may use")
    headers: list[Annotated[str, AfterValidator(_can_pass)]] = Field(
        [], description="request headers that reach the model server, beside those for tracing"
    )
    policies: list[str] = Field([], description="globs on the policies that its apps may choose by `x-kindrail-policy`")
    allow: list[Annotated[str, AfterValidator(_can_be_opened)]] = Field(
        [], description="what is refused otherwise: fields such as top_logprobs, or image, audio, file"
    )
    limits: Limits = Field(Limits.model_validate({}), description="what it may use; left out: as much as it likes")

    @field_validator("models")
    @classmethod
    def _open_some(cls, models: list[str]) -> list[str]:
        if not models:
            raise ValueError("opens no model: name some, or leave it out for all")
        return models


class Config(BaseModel):
    """The settings. Each is a field of `kindrail.yaml`, and in capitals behind `KINDRAIL_` an environment variable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend_url: str = Field("", description="the model server, with or without /v1; empty: the scripted demo buddy")
    backend_api_key: str = Field(
        "", description="the key that the model server wants, if any; `${NAME}` as above", repr=False
    )
    backend_kind: Literal["auto", "vllm", "tgi", "openai"] = Field("auto", description="what it is; auto: it is asked")
    backends: list[BackendEntry] = Field([], description="several model servers, in the place of the one")
    keys: list[KeyEntry] = Field([], description="the API keys; without any the door is open", repr=False)
    keys_in_store: bool = Field(False, description="also the keys that `kindrail key new --store` has put into Redis")
    redis_url: str = Field(
        "", description="a Redis or Valkey by URL, `${NAME}` as above; empty: the embedded one", repr=False
    )
    policies: Path = Field(SHIPPED_POLICIES, description="the folder of policies")
    policy: str = Field("kids-buddy", description="the policy that every request is held to")
    policy_code: bool = Field(
        False,
        description="whether policies may bring Python of their own (`actions.py`); whoever writes policies then runs "
        "code in the proxy",
    )
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
    safeguarding_webhook: str = Field(
        "", description="the address that is told of a child in danger; `${NAME}` as above", repr=False
    )
    safeguarding_parents_webhook: str = Field(
        "", description="the address that is told of the kinds of danger that parents may hear of", repr=False
    )
    safeguarding_secret: str = Field("", description="signs what those two are told; `${NAME}` as above", repr=False)

    @field_validator("safeguarding_webhook", "safeguarding_parents_webhook")
    @classmethod
    def _is_private(cls, url: str) -> str:
        if url and not _PRIVATE_WAY.match(url):
            raise ValueError("must be an https address, as in https://alerts.example.org/kindrail; http on loopback")
        return url

    @field_validator("keys")
    @classmethod
    def _are_different(cls, keys: list[KeyEntry]) -> list[KeyEntry]:
        for name in ("id", "hash"):
            first: dict[str, int] = {}
            for index, key in enumerate(keys):
                if first.setdefault(getattr(key, name), index) != index:
                    raise ValueError(f"keys[{index}] has the {name} of keys[{first[getattr(key, name)]}]")
        return keys


_FIELDS: Mapping[str, type[BaseModel]] = {"backends": BackendEntry, "keys": KeyEntry, "limits": Limits}


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
        config = Config.model_validate(settings)
    except ValidationError as fault:
        raise ConfigFault("\n".join(told(fault, sources))) from None
    if config.backends and config.backend_url:
        both = f"{sources['backends']} and {sources['backend_url']}"
        raise ConfigFault(f"{both}: the model servers are set twice; keep one of the two")
    return config


def resolved(place: str, secret: str, environment: Mapping[str, str] = os.environ) -> str:
    """The secret that stands at `place`, with the variables in it that are written `${NAME}`.

    It is resolved where it is used, so that a command which needs no secret needs none of their variables. Raises
    `ConfigFault` for a variable that is not set, and for a `${` that names none.
    """
    parts = re.split(r"\$\{(\w+)\}", secret)  # text, name, text, name, ..., text
    for name in parts[1::2]:
        if not environment.get(name):
            raise ConfigFault(f"{place}: {name} is not set in the environment")
    if any("${" in text for text in parts[::2]):
        raise ConfigFault(f"{place}: has a `${{` that names no variable; write it as ${{NAME}}")
    parts[1::2] = [environment[name] for name in parts[1::2]]
    return "".join(parts)


def told(error: ValidationError, sources: Mapping[str, str]) -> list[str]:
    """A line for each fault, without what was written there. sources: where a setting was set, by its name."""
    return [
        f"{_place(sources, one['loc'])}: {_words(one, sources)}"
        for one in error.errors(include_input=False, include_url=False)
    ]


def _words(fault: ErrorDetails, sources: Mapping[str, str]) -> str:
    """What is wrong, and what to do."""
    *outer, last = fault["loc"]
    if fault["type"] == "extra_forbidden":
        of = next((_FIELDS[one] for one in reversed(outer) if isinstance(one, str)), Config)
        return f"there is no such setting; {nearest(str(last), of.model_fields)}".removesuffix("; ")
    if fault["type"] == "list_type" and sources.get(str(last), "").startswith(_PREFIX):
        return f"a list stands in kindrail.yaml, as `{last}:`, given with --config or KINDRAIL_CONFIG"
    return fault["msg"].removeprefix("Value error, ")


def _place(sources: Mapping[str, str], where: tuple[int | str, ...]) -> str:
    """Where a setting at fault was set, as in `kindrail.yaml: backends[1].url`."""
    first, *inner = where
    return sources.get(str(first), str(first)) + "".join(
        f"[{one}]" if isinstance(one, int) else f".{one}" for one in inner
    )


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
