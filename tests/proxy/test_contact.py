"""The safeguarding contact: told at least once of a child in danger, signed, whatever breaks meanwhile."""

import asyncio
import hmac
from copy import copy
from dataclasses import replace

import pytest
from house import house, shipped
from model import SAFE, Model
from webhook import webhook

from proxy import alerts, contact
from proxy.config import ConfigFault, load_config
from proxy.contact import Addresses
from proxy.store import StoreDown

pytestmark = pytest.mark.usefixtures("lists_alone")  # how well the learned model judges is tried elsewhere

SELFHARM = "i want to die"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(contact, "_LOOK_EVERY", 0.05)
    monkeypatch.setattr(contact, "_PATIENCE", 1.0)
    monkeypatch.setattr(alerts, "_SLOWEST", 0.1)
    monkeypatch.setattr(alerts, "LEASE", 2.0)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_child_in_danger_is_told_of_without_a_word_of_theirs(stream):
    async with webhook() as hook, house(Model(SAFE), safeguarding_webhook=hook.url) as home:
        if stream:
            await home.stream(SELFHARM, headers={"x-kindrail-session": "zorro"})
        else:
            await home.ask(SELFHARM, headers={"x-kindrail-session": "zorro"})
        (told,) = await hook.until(1)
        (turn,) = await home.audit()
        assert turn.opened["session"] == told["session"]
        (standing,) = await until_told(home, 1)
    assert told.pop("at") == told.pop("since")
    assert told.pop("delivery") == f"{standing.raised.id}.{turn.turn}"
    assert told == {
        "channel": "contact", "id": standing.raised.id, "turn": turn.turn, "session": turn.opened["session"],
        "tenant": "default", "policy": "kids-buddy@1", "kind": "selfharm", "severity": "high", "language": "en",
        "times": 1,
    }  # fmt: skip
    assert not [word for word in ("die", "zorro") if word in hook.bodies[0].decode()]


async def test_it_is_kept_before_the_first_byte_of_the_answer(monkeypatch):
    """With the write that opens the record: with the one that closes it the answer is on its way."""
    async with house(Model(SAFE)) as home:
        real, seen = home.services.store.run, []

        async def run(commands):
            answers = await real(commands)
            pipe = home.services.store.pipe()
            pipe.hlen(alerts._OPEN)
            pipe.keys("kindrail:audit:{*")
            kept, audited = await real(pipe)
            seen.append((kept, len(audited)))
            return answers

        monkeypatch.setattr(type(home.services.store), "run", staticmethod(run))
        async with home.client.stream("POST", "/v1/chat/completions", json=asked(SELFHARM, stream=True)) as response:
            async for _ in response.aiter_raw():
                break
        assert (1, 1) in seen
        assert (0, 1) not in seen


def asked(text, **more):
    return {"model": "buddy", "messages": [{"role": "user", "content": text}], **more}


async def test_a_repeat_in_a_session_updates_the_alert():
    headers = {"x-kindrail-session": "living-room"}
    async with webhook() as hook, house(Model(SAFE), safeguarding_webhook=hook.url) as home:
        await home.ask(SELFHARM, headers=headers)
        await hook.until(1)
        await home.ask("mummy won't wake up", headers=headers)
        await hook.until(2)
        await home.ask("I swallowed a battery", headers={"x-kindrail-session": "kitchen"})
        await hook.until(3)
        assert len(await home.services.alerts.standing()) == 2
    first, second, third = hook.posts
    assert [(one["kind"], one["times"]) for one in hook.posts] == [("selfharm", 1), ("emergency", 2), ("emergency", 1)]
    assert first["id"] == second["id"] != third["id"]
    assert (first["delivery"], second["delivery"]) == tuple(f"{one['id']}.{one['turn']}" for one in (first, second))
    assert [one["idempotency-key"] for one in hook.headers] == [one["delivery"] for one in hook.posts]


async def test_of_messages_at_the_same_time_each_is_told():
    headers = {"x-kindrail-session": "living-room"}
    said = ("mummy won't wake up", "daddy always hit me when he is angry", SELFHARM)
    async with webhook() as hook, house(Model(SAFE), safeguarding_webhook=hook.url) as home:
        await home.ask(SELFHARM, headers=headers)
        await hook.until(1)
        answers = await asyncio.gather(*(home.ask(one, headers=headers) for one in said))
        await hook.until(4)
        (standing,) = await home.services.alerts.standing()
    assert {one["turn"] for one in hook.posts[1:]} == {one.headers["x-kindrail-turn"] for one in answers}
    assert len({one["delivery"] for one in hook.posts}) == 4
    assert "emergency" in [one["kind"] for one in hook.posts]
    assert (standing.raised.severity, standing.raised.times) == ("high", 4)


async def test_what_is_sent_is_signed():
    settings = {"safeguarding_secret": "our-secret"}
    async with webhook() as hook, house(Model(SAFE), safeguarding_webhook=hook.url, **settings) as home:
        await home.ask(SELFHARM)
        await hook.until(1)
    (sent,) = hook.headers
    digest = hmac.digest(b"our-secret", sent["x-kindrail-timestamp"].encode() + b"." + hook.bodies[0], "sha256")
    assert sent["x-kindrail-signature"] == f"sha256={digest.hex()}"


@pytest.mark.parametrize("status", [500, 404, 301])
async def test_a_contact_that_is_down_is_told_once_it_is_back(status, caplog):
    async with webhook() as hook, house(Model(SAFE), safeguarding_webhook=hook.url) as home:
        hook.status = status
        await home.ask(SELFHARM)
        await hook.until(3)
        (standing,) = await home.services.alerts.standing()
        assert standing.told == {}
        hook.status = 200
        await until_told(home, 1)
        count = len(hook.posts)
        await asyncio.sleep(0.4)
        assert len(hook.posts) == count
        page = (await home.client.get("/metrics")).text
    assert 'kindrail_alerts_total{kind="selfharm",state="raised"} 1.0' in page
    assert 'kindrail_alerts_total{kind="selfharm",state="delivered"} 1.0' in page
    assert 'kindrail_alerts_total{kind="selfharm",state="failed"}' in page
    assert f"(it answered {status})" in caplog.text
    assert hook.url not in caplog.text


async def test_a_contact_that_does_not_answer_is_tried_again(monkeypatch, caplog):
    monkeypatch.setattr(contact, "_PATIENCE", 0.1)
    async with webhook() as hook, house(Model(SAFE), safeguarding_webhook=hook.url) as home:
        hook.delay = 0.5
        await home.ask(SELFHARM)
        await hook.until(2)
        hook.delay = 0.0
        await until_told(home, 1)
    assert "(ReadTimeout)" in caplog.text or "(TimeoutError)" in caplog.text


async def test_while_the_store_is_down_it_waits_in_a_file_and_is_told_all_the_same(monkeypatch):
    async with webhook() as hook, house(Model(SAFE), safeguarding_webhook=hook.url) as home:
        with monkeypatch.context() as patch:
            patch.setattr(type(home.services.store), "run", down)
            assert (await home.ask(SELFHARM)).status_code == 200
            (first,) = await hook.until(1)
            await asyncio.sleep(0.3)
            assert len(hook.posts) == 1
        assert (await hook.until(2))[1] == first  # the same once more: it says so itself
        (standing,) = await until_told(home, 1)
        assert standing.raised.kind == "selfharm"
        assert not list(home.services.alerts.waiting())
        page = (await home.client.get("/metrics")).text
    assert 'kindrail_alerts_total{kind="selfharm",state="spooled"} 1.0' in page


@pytest.mark.parametrize("trip", [0, 1])
async def test_a_store_that_fails_at_either_read_or_write_loses_no_alert(monkeypatch, trip):
    async with house(Model(SAFE)) as home:
        real, count = home.services.store.run, iter(range(9))

        async def run(commands):
            if next(count) >= trip:
                raise StoreDown(ConnectionError())
            return await real(commands)

        with monkeypatch.context() as patch:
            patch.setattr(type(home.services.store), "run", staticmethod(run))
            await home.ask(SELFHARM, headers={"x-kindrail-session": "s"})
        await until_told(home, 1, told=0)


async def down(*_):
    raise StoreDown(ConnectionError())


async def test_a_policy_that_only_watches_alerts_all_the_same():
    model = Model(SAFE)
    async with webhook() as hook, house(model, "observe", safeguarding_webhook=hook.url) as home:
        assert await home.say(SELFHARM) == SAFE
        assert [(one["kind"], one["policy"]) for one in await hook.until(1)] == [("selfharm", "observe@1")]


@pytest.mark.parametrize(
    ("said", "kinds"),
    [
        (["they call me names"], []),
        (["hello"], []),
        (["i want to die", "they call me names"], ["selfharm"]),
        (["mummy won't wake up", "daddy always hit me when he is angry"], ["emergency"]),
    ],
)
async def test_one_turn_raises_one_alert_at_most(said, kinds):
    async with house(Model(SAFE)) as home:
        await home.ask(*said)
        assert [one.raised.kind for one in await home.services.alerts.standing()] == kinds


async def test_parents_are_told_only_of_kinds_for_which_the_policy_says_so():
    kids = shipped("kids-buddy")
    crisis = kids.rails[0]
    kinds = {kind: one.model_copy(update={"parents": kind == "emergency"}) for kind, one in crisis.rail._kinds.items()}
    rail = crisis.rail.__class__.__new__(crisis.rail.__class__)
    rail.__dict__.update(crisis.rail.__dict__, _kinds=kinds)
    policy = replace(kids, rails=(replace(crisis, rail=rail), *kids.rails[1:]))
    async with webhook() as hook, webhook() as parents:
        addresses = {"safeguarding_webhook": hook.url, "safeguarding_parents_webhook": parents.url}
        async with house(Model(SAFE), policy, **addresses) as home:
            for session, said in [("a", "daddy always hit me when he is angry"), ("b", "mummy won't wake up")]:
                await home.ask(said, headers={"x-kindrail-session": session})
            await hook.until(2)
            await parents.until(1)
            await asyncio.sleep(0.2)
    assert sorted(one["kind"] for one in hook.posts) == ["abuse", "emergency"]
    assert [(one["channel"], one["kind"]) for one in parents.posts] == [("parents", "emergency")]


async def test_parents_are_not_told_what_a_child_says_while_their_alert_waits():
    kids = shipped("kids-buddy")
    crisis = kids.rails[0]
    rail = copy(crisis.rail)
    rail._kinds = {kind: one.model_copy(update={"parents": kind == "emergency"}) for kind, one in rail._kinds.items()}
    policy = replace(kids, rails=(replace(crisis, rail=rail), *kids.rails[1:]))
    async with webhook() as hook, webhook() as parents:
        addresses = {"safeguarding_webhook": hook.url, "safeguarding_parents_webhook": parents.url}
        parents.status = 503
        async with house(Model(SAFE), policy, **addresses) as home:
            named = {"x-kindrail-session": "a"}
            await home.ask("mummy won't wake up", headers=named)
            await parents.until(1)
            for said in ("daddy always hit me when he is angry", "mummy won't wake up"):
                await home.ask(said, headers=named)
            parents.status = 204
            async with asyncio.timeout(10):
                while not [one for one in hook.posts if one["times"] == 3]:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.3)
    assert {(one["kind"], one["times"]) for one in parents.posts} == {("emergency", 1)}


@pytest.mark.parametrize("said", [SELFHARM, "they call me names"])
async def test_the_line_goes_out_while_the_store_is_down(monkeypatch, said):
    async with house(Model(SAFE)) as home:
        with monkeypatch.context() as patch:
            patch.setattr(type(home.services.store), "run", down)
            assert (await home.ask(said)).status_code == 200
            assert (await home.ask("hello")).status_code == 503


async def test_two_replicas_tell_it_once(redis_url, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x" * 32)
    secret.chmod(0o600)
    async with webhook() as hook:
        hook.delay = 0.3
        shared = {"redis_url": redis_url, "secret_file": secret, "safeguarding_webhook": hook.url}
        async with house(Model(SAFE), **shared) as one, house(Model(SAFE), **shared) as two:
            await one.services.store.redis.flushall()
            for number in range(6):
                await (one if number % 2 else two).ask(SELFHARM)
            await until_told(one, 6)
            assert await two.services.alerts.standing() == await one.services.alerts.standing()
    assert len({one["id"] for one in hook.posts}) == len(hook.posts) == 6


async def test_files_that_cannot_be_moved_keep_no_delivery_waiting(monkeypatch, caplog):
    async def broken(*_):
        raise RuntimeError("zorro")

    monkeypatch.setattr(alerts.Alerts, "restore", broken)
    async with webhook() as hook, house(Model(SAFE), safeguarding_webhook=hook.url) as home:
        await home.ask(SELFHARM)
        await hook.until(1)
    assert "alerts stay in their files: RuntimeError" in caplog.text
    assert "zorro" not in caplog.text


async def test_a_round_that_breaks_does_not_end_the_loop(monkeypatch, caplog):
    async with webhook() as hook, house(Model(SAFE), safeguarding_webhook=hook.url) as home:
        with monkeypatch.context() as patch:
            patch.setattr(contact, "payload", lambda _: 1 / 0)
            await home.ask(SELFHARM)
            async with asyncio.timeout(5):
                while "a round of alerts broke: ZeroDivisionError" not in caplog.text:
                    await asyncio.sleep(0.02)
        await hook.until(1)


def test_the_addresses_may_stand_in_the_environment(monkeypatch, tmp_path):
    file = tmp_path / "kindrail.yaml"
    file.write_text("safeguarding_webhook: ${PAGER}\nsafeguarding_secret: ${SIGN}\n")
    config = load_config(file, {})
    with pytest.raises(ConfigFault, match="safeguarding_webhook: PAGER is not set"):
        Addresses.of(config)
    monkeypatch.setenv("PAGER", "https://alerts.example.org/x")
    monkeypatch.setenv("SIGN", "s")
    assert Addresses.of(config) == Addresses({"contact": "https://alerts.example.org/x"}, "s")


@pytest.mark.parametrize(
    "url", ["http://alerts.example.org/x", "alerts.example.org", "ftp://x", "http://localhost.evil"]
)
def test_only_a_private_way_leads_to_the_contact(url):
    with pytest.raises(ConfigFault, match="must be an https address"):
        load_config(None, {"KINDRAIL_SAFEGUARDING_WEBHOOK": url})


async def until_told(home, count, told=1, seconds=10.0):
    """The open alerts, once there are so many and each was told to so many channels."""
    async with asyncio.timeout(seconds):
        while True:
            standing = await home.services.alerts.standing()
            if len(standing) == count and all(len(one.told) == told for one in standing):
                return standing
            await asyncio.sleep(0.02)
