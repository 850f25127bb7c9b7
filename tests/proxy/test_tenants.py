"""Keys through the whole house: who is let in, what a key opens, and that nothing of one tenant's reaches another."""

import logging
from dataclasses import replace

import pytest
from fake_upstream import DONE, VLLM, chunk, says, upstream
from house import asking, assistant, house, shipped
from model import SAFE, Model

from proxy.config import KeyEntry
from proxy.keyring import hashed, new_key, put
from proxy.policy.schema import Parts

KEY, OTHER = new_key(), new_key()
BYE = "I'm tired, good night"


def entry(key=KEY, id="tablet", **settings):
    return KeyEntry.model_validate({"id": id, "hash": hashed(key), **settings})


def bearer(key=KEY, **more):
    return {"authorization": f"Bearer {key}", **more}


def two(**of_both):
    """Two tenants, each with a key."""
    return [entry(tenant="home", **of_both), entry(OTHER, "phone", tenant="school", **of_both)]


def code(response):
    return response.status_code, response.json()["error"]["code"]


class Shop(Model):
    """A model server with several models."""

    async def models(self):
        return {"object": "list", "data": [{"id": name, "object": "model"} for name in ("buddy", "org/big", "org/a/b")]}


# -- the door ----------------------------------------------------------------------------------------------------------

DOORS = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/embeddings"),
    ("DELETE", "/v1/responses/resp_1"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/buddy"),
]


@pytest.mark.parametrize(("method", "path"), DOORS)
@pytest.mark.parametrize("headers", [{}, bearer("kr-wrong"), bearer(OTHER), {"authorization": f"Basic {KEY}"}])
async def test_no_door_opens_without_the_key(method, path, headers):
    model = Model(SAFE)
    async with house(model, keys=[entry()]) as home:
        response = await home.client.request(method, path, headers=headers)
        assert code(response) == (401, "invalid_api_key")
        assert response.headers["www-authenticate"] == "Bearer"
    assert not model.asked


@pytest.mark.parametrize(("method", "path"), DOORS)
async def test_a_key_in_the_address_is_refused_and_stands_in_no_log(method, path, caplog):
    caplog.set_level(logging.DEBUG)
    async with house(Model(SAFE), keys=[entry()]) as home:
        for query in (f"api_key={KEY}", f"x={KEY}", "token=Zebra"):
            response = await home.client.request(method, f"{path}?{query}", headers=bearer())
            assert code(response) == (400, "key_in_query")
            assert KEY not in response.text
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert not [line for line in ours if KEY in line or "Zebra" in line]


async def test_a_wrong_key_stands_in_no_log(caplog):
    caplog.set_level(logging.DEBUG)
    async with house(Model(SAFE), keys=[entry()]) as home:
        await home.ask("Hello", headers=bearer(OTHER))
        await home.ask("Hello", headers=bearer())
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert not [line for line in ours if KEY in line or OTHER in line]


async def test_health_needs_no_key():
    async with house(Model(SAFE), keys=[entry()]) as home:
        assert (await home.client.get("/healthz")).status_code == 200
        assert (await home.client.get("/readyz")).status_code == 200


async def test_a_key_of_the_store_opens_the_door():
    async with house(Model(SAFE), keys_in_store=True) as home:
        assert code(await home.ask("Hello", headers=bearer())) == (401, "invalid_api_key")
        await put(home.services.store, entry(OTHER))
        assert (await home.ask("Hello", headers=bearer(OTHER))).status_code == 200


async def test_the_audit_names_key_and_tenant():
    async with house(Model(SAFE), keys=two()) as home:
        turn = (await home.ask("Hello", headers=bearer(OTHER))).headers["x-kindrail-turn"]
        (found,) = await home.audit(turn)
        assert (found.opened["key"], found.opened["tenant"]) == ("phone", "school")
        assert OTHER not in str(found)


# -- tenants are strangers ---------------------------------------------------------------------------------------------


async def test_tenants_with_the_same_session_name_share_no_state():
    async with house(Model(SAFE), keys=two()) as home:
        await home.ask(BYE, headers=bearer(**{"x-kindrail-session": "tom"}))
        for key, stopped in ((KEY, True), (OTHER, False)):
            response = await home.ask("And the bear?", headers=bearer(key, **{"x-kindrail-session": "tom"}))
            (found,) = await home.audit(response.headers["x-kindrail-turn"])
            assert (found.opened["found"] == "named") is stopped


async def test_tenants_with_the_same_transcript_share_no_state():
    async with house(Model(SAFE), keys=two()) as home:
        said = (await home.ask("Hello", headers=bearer())).json()["choices"][0]["message"]["content"]
        talk = ["Hello", assistant(said), "And then?"]
        ways = [await home.ask(*talk, headers=bearer(key)) for key in (OTHER, KEY)]
        found = [(await home.audit(one.headers["x-kindrail-turn"]))[0].opened["found"] for one in ways]
        assert found == ["new", "transcript"]


async def test_keys_of_one_tenant_share_its_sessions():
    keys = [entry(tenant="home"), entry(OTHER, "phone", tenant="home")]
    async with house(Model(SAFE), keys=keys) as home:
        named = {"x-kindrail-session": "tom"}
        await home.ask("Hello", headers=bearer(**named))
        response = await home.ask("And the bear?", headers=bearer(OTHER, **named))
        assert (await home.audit(response.headers["x-kindrail-turn"]))[0].opened["found"] == "named"


async def test_tenants_share_no_kept_responses():
    async with house(Model(SAFE), keys=two()) as home:
        body = {"model": "buddy", "input": "Hello"}
        kept = (await home.client.post("/v1/responses", json=body, headers=bearer())).json()
        follow = {**body, "previous_response_id": kept["id"]}
        refer = {**body, "input": [{"type": "item_reference", "id": kept["output"][0]["id"]}]}
        for key, status in ((OTHER, 404), (KEY, 200)):
            for asked in (follow, refer):
                response = await home.client.post("/v1/responses", json=asked, headers=bearer(key))
                assert response.status_code == status, response.text
        path = f"/v1/responses/{kept['id']}"
        assert (await home.client.delete(path, headers=bearer(OTHER))).status_code == 404
        assert (await home.client.delete(path, headers=bearer())).status_code == 200


# -- what a key opens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_key", "asked", "status", "policy"),
    [
        ({}, None, 200, "kids-buddy@1"),
        ({"policy": "general"}, None, 200, "general@1"),
        ({}, "kids-buddy", 200, "kids-buddy@1"),
        ({}, "general", 403, "policy_not_allowed"),
        ({}, "kids-buddy@99", 400, "policy_not_found"),
        ({"policies": ["gen*"]}, "general", 200, "general@1"),
        ({"policies": ["gen*"]}, "general@1", 200, "general@1"),
        ({"policy": "general"}, "kids-buddy", 403, "policy_not_allowed"),
        ({"policies": ["*"]}, "observe", 400, "policy_not_found"),
        ({"policy": "observe"}, None, 503, "policy_not_found"),
    ],
)
async def test_the_policy_is_the_keys(of_key, asked, status, policy):
    chosen = {} if asked is None else {"x-kindrail-policy": asked}
    async with house(Model(SAFE), more=["general"], keys=[entry(**of_key)]) as home:
        response = await home.ask("Hello", headers=bearer(**chosen))
        assert response.status_code == status
        if status == 200:
            assert response.headers["x-kindrail-policy"] == policy
        else:
            assert code(response) == (status, policy)
            assert response.json()["error"]["param"] == (None if status == 503 else "x-kindrail-policy")


async def test_an_open_door_lets_nobody_choose_a_policy():
    async with house(Model(SAFE), more=["general"]) as home:
        response = await home.ask("Hello", headers={"x-kindrail-policy": "general"})
        assert code(response) == (403, "policy_not_allowed")


@pytest.mark.parametrize(
    ("globs", "open_ones"),
    [(["*"], ["buddy", "org/big", "org/a/b"]), (["buddy"], ["buddy"]), (["org/*"], ["org/big", "org/a/b"])],
)
async def test_models_are_the_keys(globs, open_ones):
    model = Shop(SAFE)
    async with house(model, keys=[entry(models=globs)]) as home:
        listed = (await home.client.get("/v1/models", headers=bearer())).json()["data"]
        assert [one["id"] for one in listed] == open_ones
        for name in ("buddy", "org/big", "org/a/b", "nobody"):
            one = await home.client.get(f"/v1/models/{name}", headers=bearer())
            if name in open_ones:
                assert (one.status_code, one.json()["id"]) == (200, name)
            else:
                assert code(one) == (404, "model_not_found")
                assert name not in one.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}], "stream": True}),
        ("/v1/completions", {"prompt": "Hello"}),
        ("/v1/responses", {"input": "Hello"}),
        ("/v1/embeddings", {"input": "Hello"}),
    ],
)
async def test_another_model_does_not_exist(path, body):
    model = Shop(SAFE)
    async with house(model, keys=[entry(models=["buddy"])]) as home:
        for name in ("org/big", None):
            response = await home.client.post(path, json={**body, "model": name}, headers=bearer())
            assert code(response) == (404, "model_not_found")
    assert not model.asked


@pytest.mark.parametrize(
    ("body", "allow"),
    [
        ({"top_logprobs": 2, "logprobs": True}, "top_logprobs"),
        ({"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs"),
        ({"echo": True}, "echo"),
    ],
)
async def test_fields_are_the_keys(body, allow):
    model = Model(SAFE)
    async with house(model, keys=[entry(), entry(OTHER, "phone", allow=[allow])]) as home:
        assert code(await home.ask("Hello", headers=bearer(), **body)) == (400, "unsupported_parameter")
        assert (await home.ask("Hello", headers=bearer(OTHER), **body)).status_code == 200
    assert model.asked[0][allow] == body[allow]


@pytest.mark.parametrize(
    ("of_policy", "allow", "passes"),
    [("refuse", ["image"], False), ("keys", [], False), ("keys", ["image"], True), ("keys", ["audio"], False), ("pass", [], True)],
)  # fmt: skip
async def test_parts_are_the_policys_and_the_keys(of_policy, allow, passes):
    model = Model(SAFE)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    message = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}
    policy = replace(shipped("general"), parts=Parts(image=of_policy))
    async with house(model, policy, keys=[entry(allow=allow)]) as home:
        response = await home.ask(message, headers=bearer())
    if passes:
        assert response.status_code == 200
        assert model.asked[0]["messages"][-1]["content"][-1] == image
    else:
        assert code(response) == (400, "unsupported_content")


# -- what reaches the model server -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["chat", "completions", "responses", "embeddings"])
async def test_only_named_headers_reach_the_model_server(path):
    bodies = {
        "chat": ("/v1/chat/completions", asking(["Hello"], {})),
        "completions": ("/v1/completions", {"model": "buddy", "prompt": "Hello"}),
        "responses": ("/v1/responses", {"model": "buddy", "input": "Hello"}),
        "embeddings": ("/v1/embeddings", {"model": "buddy", "input": "Hello"}),
    }
    sent = {
        "x-request-id": "r-1",
        "traceparent": "00-1-2-01",
        "x-lora": "night",
        "x-secret": "Zebra",
        "cookie": "Zebra=1",
        "proxy-authorization": "Zebra",
        "x-kindrail-session": "tom",
        "openai-organization": "Zebra",
        "x-forwarded-for": "10.1.2.3",
    }
    async with upstream(says(chunk("Hello.", "stop"), DONE), VLLM) as fake:
        keys = [entry(headers=["X-Lora"])]
        async with house(backend_url=fake.url, backend_api_key="upstream-key", keys=keys) as home:
            url, body = bodies[path]
            response = await home.client.post(url, json=body, headers=bearer(**sent))
            (asked,) = fake.chats
            assert asked.headers["authorization"] == "Bearer upstream-key"
            assert {name: asked.headers.get(name) for name in ("x-request-id", "traceparent", "x-lora")} == {
                "x-request-id": "r-1", "traceparent": "00-1-2-01", "x-lora": "night",
            }  # fmt: skip
            told = str(asked.headers)
            assert "Zebra" not in told
            assert KEY not in told
            assert not {"x-kindrail-session", "x-forwarded-for"} & set(asked.headers)
            assert "upstream-key" not in response.text + str(response.headers)


@pytest.mark.parametrize("value", ["two words", "x" * 513, "caf\u00e9", "{}"])
async def test_a_tracing_header_that_could_be_text_stays_here(value):
    async with upstream(says(chunk("Hello.", "stop"), DONE), VLLM) as fake, house(backend_url=fake.url) as home:
        response = await home.ask("Hello", headers={"x-request-id": value.encode()})
        assert response.status_code == 200
        assert "x-request-id" not in fake.chats[0].headers
