"""The configuration: which source wins, and what its faults say (and never say)."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from proxy.config import SHIPPED_POLICIES, BackendEntry, Config, ConfigFault, KeyEntry, Limits, load_config, resolved
from proxy.policy.schema import Parts
from proxy.wire import completions, embeddings, request

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "kindrail.yaml"


def fault(file=None, environment=None, **given):
    with pytest.raises(ConfigFault) as caught:
        load_config(file, environment or {}, **given)
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.mark.parametrize("name", [name for name in Config.model_fields if name.startswith("safeguarding")])
def test_who_is_told_of_children_in_danger_can_be_set_wherever_it_runs(name):
    variable = f"KINDRAIL_{name.upper()}"
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    assert variable in compose["services"]["kindrail"]["environment"]
    assert f"\n| `{variable}` |" in (ROOT / "README.md").read_text("utf-8")


def test_the_defaults_are_safe_and_need_nothing():
    config = load_config(environment={})
    assert (config.host, config.port, config.admin_port) == ("127.0.0.1", 8080, None)
    assert (config.backend_url, config.redis_url, config.secret_file) == ("", "", None)
    assert config.policy_code is False
    assert (config.policies, config.policy, config.data) == (SHIPPED_POLICIES, "kids-buddy", Path(".kindrail"))
    assert (SHIPPED_POLICIES / "kids-buddy.yaml").is_file()


@pytest.mark.parametrize(
    ("in_file", "environment", "given", "port"),
    [
        ("", {}, {}, 8080),
        ("port: 1", {}, {}, 1),
        ("port: 1", {"KINDRAIL_PORT": "2"}, {}, 2),
        ("port: 1", {"KINDRAIL_PORT": ""}, {}, 1),
        ("port: 1", {"PORT": "2", "kindrail_port": "2"}, {}, 1),
        ("port: 1", {"KINDRAIL_PORT": "2"}, {"port": 3}, 3),
        ("port: 1", {"KINDRAIL_PORT": "2"}, {"port": None}, 2),
        ("port: 1", {}, {"port": 0}, 0),
    ],
)
def test_the_command_line_wins_over_the_environment_over_the_file(file, in_file, environment, given, port):
    file.write_text(f"policy: general\n{in_file}\n")
    config = load_config(file, environment, **given)
    assert (config.port, config.policy) == (port, "general")


def test_the_command_line_can_empty_a_setting():
    environment = {"KINDRAIL_BACKEND_URL": "http://127.0.0.1:8000"}
    assert load_config(environment=environment, backend_url="").backend_url == ""


def test_every_setting_may_come_from_either_source(file):
    settings = {
        "backend_url": "http://127.0.0.1:8000", "backend_api_key": "k", "redis_url": "redis://r", "policies": "p",
        "policy": "general", "host": "::1", "port": "1", "admin_port": "2", "data": "d", "secret_file": "s",
        "max_body": "2048", "connect_timeout": "400ms", "first_token_timeout": "2m", "between_tokens_timeout": "1.5s",
        "keep_alive": "1h", "backend_kind": "tgi", "keys_in_store": "true", "policy_code": "true",
        "safeguarding_webhook": "https://a", "safeguarding_parents_webhook": "http://localhost:1",
        "safeguarding_secret": "s",
    }  # fmt: skip
    assert set(settings) | {"backends", "keys"} == set(Config.model_fields)  # lists are for the file alone
    file.write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))
    config = load_config(file, {})
    assert config == load_config(environment={f"KINDRAIL_{name.upper()}": value for name, value in settings.items()})
    assert (config.policies, config.secret_file, config.admin_port) == (Path("p"), Path("s"), 2)
    assert (config.connect_timeout, config.first_token_timeout) == (0.4, 120)
    assert (config.between_tokens_timeout, config.keep_alive) == (1.5, 3600)


@pytest.mark.parametrize(
    ("in_file", "environment", "given", "messages"),
    [
        ("prot: 1", {}, {}, ["{file}: prot: there is no such setting; did you mean `port`?"]),
        ("zebra: 1", {}, {}, ["{file}: zebra: there is no such setting"]),
        ("keyz: []", {}, {}, ["{file}: keyz: there is no such setting; did you mean `keys`?"]),
        ("", {"KINDRAIL_KEYS": "s3cret", "KINDRAIL_BACKENDS": "http://a"}, {}, [
            "KINDRAIL_KEYS: a list stands in kindrail.yaml, as `keys:`, given with --config or KINDRAIL_CONFIG",
            "KINDRAIL_BACKENDS: a list stands in kindrail.yaml, as `backends:`,",
        ]),
        ("port: many", {}, {}, ["{file}: port: Input should be a valid integer"]),
        ("port: 1", {"KINDRAIL_PORT": "70000"}, {}, ["KINDRAIL_PORT: Input should be less than or equal to 65535"]),
        ("port: 1", {"KINDRAIL_PORT": "2"}, {"port": -1}, ["--port: Input should be greater than or equal to 0"]),
        ("", {}, {"admin_port": "x"}, ["--admin-port: Input should be a valid integer"]),
        ("max_body: 10", {}, {}, ["{file}: max_body: Input should be greater than or equal to 1024"]),
        ("", {"KINDRAIL_KEEP_ALIVE": "15"}, {}, ["KINDRAIL_KEEP_ALIVE: ", "a number with its unit: 400ms, 30s, 15m"]),
        ("keep_alive: -1s", {}, {}, ["{file}: keep_alive: "]),
        ("keep_alive: [1s]", {}, {}, ["{file}: keep_alive: "]),
        ("port: x\nmax_body: y", {"KINDRAIL_KEEP_ALIVE": "z"}, {"host": 3}, ["{file}: port", "{file}: max_body", "KINDRAIL_KEEP_ALIVE", "--host"]),
        ("- port", {}, {}, ["{file}: must be a mapping of settings"]),
        ("", {}, {}, ["{file}: must be a mapping of settings"]),
        ("policy: general\nport: @1", {}, {}, ["{file}: not YAML", "(line 2, column 7)"]),
    ],
)  # fmt: skip
def test_a_fault_names_the_setting_and_its_source(file, in_file, environment, given, messages):
    file.write_text(in_file or ("" if not environment and not given else "policy: general"))
    text = fault(file, environment, **given)
    for message in messages:
        assert message.format(file=file) in text


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_named(file, content):
    if content is not None:
        file.write_bytes(content)
    assert fault(file).startswith(f"{file}: ")


SECRET = "s3cret"


@pytest.mark.parametrize(
    "in_file",
    [
        "backend_api_key: [s3cret]",
        "redis_url: {redis: s3cret}",
        "backend_api_key: s3cret\nport: s3cret",
        'backend_api_key: "s3cret\nport: 1',
        "backend_api_key: s3cret: s3cret",
        "redis_url: @redis://:s3cret@host",
        "backend_api_key: 's3cret' s3cret",
        "backend_api_key: *s3cret",
    ],
)
def test_a_fault_never_shows_a_secret(file, in_file):
    file.write_text(in_file)
    text = fault(file)
    assert SECRET not in text
    assert str(file) in text


def test_the_configuration_never_shows_a_secret():
    config = load_config(environment={"KINDRAIL_BACKEND_API_KEY": SECRET, "KINDRAIL_REDIS_URL": f"redis://:{SECRET}@r"})
    assert (config.backend_api_key, config.redis_url) == (SECRET, f"redis://:{SECRET}@r")
    assert SECRET not in f"{config} {config!r}"


def test_it_stays_as_it_is():
    config = load_config(environment={})
    with pytest.raises(ValidationError):
        config.port = 1


def test_every_setting_is_described():
    models = (Config, BackendEntry, KeyEntry, Limits)
    assert [name for one in models for name, field in one.model_fields.items() if not field.description] == []


LISTS = """
backends:
  - url: http://gpu-1:8000/v1
    api_key: ${GPU_KEY}
    models: [llama-*]
    rename: {gpt-4o: llama-3}
    weight: 3
    concurrency: 8
    first_token_timeout: 20s
  - kind: litellm
    models: [anthropic/claude]
keys:
  - id: toys
    hash: sha256:%s
    tenant: toymaker
    models: [llama-*]
    limits: {requests: 60, body: 4096}
"""


def test_lists_are_read_from_the_file(file):
    file.write_text(LISTS % ("0" * 64))
    config = load_config(file, {})
    server, provider = config.backends
    assert (server.url, server.api_key, server.models) == ("http://gpu-1:8000/v1", "${GPU_KEY}", ["llama-*"])
    assert (server.rename, server.weight, server.concurrency) == ({"gpt-4o": "llama-3"}, 3, 8)
    assert (server.kind, server.first_token_timeout, server.connect_timeout) == ("auto", 20, None)
    assert (provider.kind, provider.url, provider.weight) == ("litellm", "", 1)
    (key,) = config.keys
    assert (key.id, key.tenant, key.policy, key.models) == ("toys", "toymaker", "", ["llama-*"])
    assert (key.limits.requests, key.limits.body, key.limits.tokens) == (60, 4096, None)
    assert "0" * 64 not in f"{config} {config!r}"


URL = "url: http://a"
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.mark.parametrize(
    ("in_file", "message"),
    [
        (
            f"backends: [{{{URL}}}, {{url: gpu-1:8000}}]",
            "backends[1].url: must be an http(s) address, as in http://gpu-1:8000",
        ),
        (f"backends: [{{{URL}}}, {{models: [a]}}]", "backends[1]: needs a `url`"),
        ("backends: [{kind: litellm}]", "backends[0]: a `kind: litellm` needs its `models`"),
        ("backends: [{kind: ollama, url: http://a}]", "backends[0].kind: "),
        (f"backends: [{{{URL}, weight: 0}}]", "backends[0].weight: "),
        (f"backends: [{{{URL}, models: a}}]", "backends[0].models: Input should be a valid list"),
        (f"backends: [{{{URL}, models: [a, [b]]}}]", "backends[0].models[1]: "),
        (f"backends: [{{{URL}, rename: {{a: [b]}}}}]", "backends[0].rename.a: "),
        (f"backends: [{{{URL}, wieght: 2}}]", "backends[0].wieght: there is no such setting; did you mean `weight`?"),
        (f"backends: [{{{URL}, connect_timeout: 5}}]", "backends[0].connect_timeout: a length of time is"),
        ("backends: http://a", "backends: Input should be a valid list"),
        (
            f"backend_url: http://b\nbackends: [{{{URL}}}]",
            "backends and {file}: backend_url: the model servers are set twice",
        ),
        (
            f"keys: [{{id: a, hash: '{A}'}}, {{id: b, hash: '{B}'}}, {{id: a, hash: '{B}'}}]",
            "keys: keys[2] has the id of keys[0]",
        ),
        (f"keys: [{{id: a, hash: '{A}'}}, {{id: b, hash: '{A}'}}]", "keys: keys[1] has the hash of keys[0]"),
        ("keys: [{id: a, hash: s3cret}]", "keys[0].hash: "),
        (f"keys: [{{id: A B, hash: '{A}'}}]", "keys[0].id: "),
        (f"keys: [{{id: a, hash: '{A}', limits: {{requests: 0}}}}]", "keys[0].limits.requests: "),
        (
            f"keys: [{{id: a, hash: '{A}', limits: {{request: 1}}}}]",
            "keys[0].limits.request: there is no such setting; did you mean `requests`?",
        ),
        (
            f"keys: [{{id: a, hash: '{A}', tennant: b}}]",
            "keys[0].tennant: there is no such setting; did you mean `tenant`?",
        ),
        (f"keys: [{{id: a, hash: '{A}', models: []}}]", "keys[0].models: opens no model"),
        (
            f"keys: [{{id: a, hash: '{A}', allow: [image, audoi]}}]",
            "keys[0].allow[1]: is nothing that a key can open: did you mean `audio`?",
        ),
        (
            f"keys: [{{id: a, hash: '{A}', allow: [zzz]}}]",
            "keys[0].allow[0]: is nothing that a key can open: there are ",
        ),
    ],
)
def test_a_fault_within_a_list_names_its_place(file, in_file, message):
    file.write_text(in_file)
    text = fault(file)
    assert f"{file}: {message.format(file=file)}" in text
    assert text.count("\n") == 0
    assert SECRET not in text


@pytest.mark.parametrize("header", ["Authorization", "cookie", "host", "Connection", "TE", "accept", "accept-encoding", "content-type", "proxy-authorization", "transfer-encoding", "x team", "", "caf\u00e9", "x-a\n"])  # fmt: skip
def test_a_header_that_never_passes_is_refused(header):
    with pytest.raises(ValidationError, match=r"headers\.1"):
        KeyEntry.model_validate({"id": "a", "hash": A, "headers": ["x-team", header]})


@pytest.mark.parametrize("header", ["x-team", "X-Cookie", "openai-organization", "x-accept", "team", "hostage"])
def test_a_header_that_may_pass(header):
    assert KeyEntry.model_validate({"id": "a", "hash": A, "headers": [header]}).headers == [header]


def test_a_key_can_open_what_the_routes_refuse_and_the_parts():
    known = {*request.REFUSED, *completions.REFUSED, *embeddings._REFUSED, *Parts.model_fields}
    assert set(KeyEntry.model_validate({"id": "a", "hash": A, "allow": sorted(known)}).allow) == known


def test_servers_set_in_two_sources_are_named_with_both(file):
    file.write_text(f"backends: [{{{URL}}}]")
    text = fault(file, {"KINDRAIL_BACKEND_URL": "http://b"})
    assert f"{file}: backends and KINDRAIL_BACKEND_URL: " in text
    assert len(load_config(file, {"KINDRAIL_BACKEND_URL": "http://b"}, backend_url="").backends) == 1


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("", ""),
        ("plain $A {A} $", "plain $A {A} $"),
        ("${A}", SECRET),
        ("redis://:${A}@host/${B}", f"redis://:{SECRET}@host/a${{B}}"),  # what comes in is not looked through
        ("${A}${A}", SECRET * 2),
        ("$${A}{A}", f"${SECRET}{{A}}"),
    ],
)
def test_a_variable_comes_in_the_place_of_its_name(secret, expected):
    assert resolved("redis_url", secret, {"A": SECRET, "B": "a${B}"}) == expected


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("redis://:${A}@${C}", "redis_url: C is not set in the environment"),
        ("${E}", "redis_url: E is not set in the environment"),
        ("${A}${", "redis_url: has a `${` that names no variable; write it as ${NAME}"),
        ("${A-x}", "redis_url: has a `${` that names no variable; write it as ${NAME}"),
    ],
)
def test_a_variable_that_is_not_there_is_named(secret, message):
    with pytest.raises(ConfigFault) as caught:
        resolved("redis_url", secret, {"A": SECRET, "E": ""})
    assert str(caught.value) == message
