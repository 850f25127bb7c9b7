"""A turn when something fails: the store, a rail, the client; and what stays true then."""

import asyncio
import json
from dataclasses import replace

import pytest
from fake_upstream import VLLM, chunk, upstream
from house import assistant, house, shipped
from model import SAFE, Model

from proxy.store import StoreDown

pytestmark = pytest.mark.usefixtures("lists_alone")  # how well the learned model judges is tried elsewhere


class Gone:
    """A store that answers nobody any more."""

    async def __call__(self, *anything):
        raise StoreDown(ConnectionError())


def care(key, numbers):
    return shipped("kids-buddy").line(key, "en", fill={"help": numbers})


async def test_without_redis_no_turn_passes_but_a_child_in_danger_is_answered(monkeypatch):
    model = Model(SAFE)
    async with house(model) as home:
        monkeypatch.setattr(type(home.services.store), "run", Gone())
        response = await home.ask("hello")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "store_unavailable")
        assert model.asked == []
        crisis = await home.say("i want to die")
        assert crisis == care("crisis_selfharm", "999 or 0800 1111")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("trips", [0, 1, 2])
async def test_a_store_that_fails_in_mid_turn_is_an_error_and_not_a_crash(monkeypatch, caplog, trips, stream):
    async with house(Model(SAFE)) as home:
        store = home.services.store
        real, count = store.run, iter(range(9))

        async def run(commands):
            if next(count) >= trips:
                raise StoreDown(ConnectionError())
            return await real(commands)

        monkeypatch.setattr(type(store), "run", staticmethod(run))
        headers = {"x-kindrail-session": "s"}
        if stream and trips == 2:
            assert (await home.stream("hello", headers=headers))[-2]["error"]["code"] == "store_unavailable"
        else:
            response = await home.ask("hello", headers=headers, stream=stream)
            assert (response.status_code, response.json()["error"]["code"]) == (503, "store_unavailable")
        assert "unforeseen" not in caplog.text
        assert "Traceback" not in caplog.text


class Breaks:
    """A rail in the place of another, which fails while `broken`."""

    def __init__(self, rail):
        self.rail, self.broken = rail, True
        self.when_broken = getattr(rail, "when_broken", None)

    async def check(self, segment):
        if self.broken:
            raise RuntimeError(segment.text)
        return await self.rail.check(segment)


def breaking(id, **more):
    kids = shipped("kids-buddy")
    rails = [replace(one, rail=Breaks(one.rail)) if one.id == id else one for one in kids.rails]
    return replace(kids, rails=tuple(rails), **more), next(one.rail for one in rails if one.id == id)


@pytest.mark.parametrize("when_broken", ["closed", "open"])
async def test_what_a_broken_rail_let_by_is_judged_again(when_broken, caplog):
    """A verdict that was never given is not remembered: the datum would go to the model with every later turn."""
    policy, rail = breaking("hide-private", when_broken=when_broken)
    model = Model(SAFE)
    async with house(model, policy) as home:
        first = await home.say("my name is Oliver Quixley")
        asked = len(model.asked)
        rail.broken = False
        await home.say("my name is Oliver Quixley", assistant(first), "go on")
        assert "Quixley" not in json.dumps(model.asked[asked:])
        rail.broken = True
        await home.say("my mail is zorro@mail.com", assistant("Hi there."), "tell me of the moon")
        assert "zorro" not in json.dumps(model.asked) or when_broken == "open"
        rail.broken, asked = False, len(model.asked)
        await home.say("my mail is zorro@mail.com", assistant("Hi there."), "tell me of the sun")
        assert "zorro" not in json.dumps(model.asked[asked:])  # nor is what history let by
        page = (await home.client.get("/metrics")).text
        assert 'kindrail_broken_rails_total{how="RuntimeError",policy="kids-buddy@1",rail="hide-private"}' in page
    assert "Quixley" not in caplog.text


async def test_a_broken_crisis_rail_takes_care():
    policy, _ = breaking("crisis", when_broken="open")
    async with house(Model(SAFE), policy) as home:
        response = await home.ask("i want to die")
        assert response.json()["choices"][0]["message"]["content"] == care("crisis_emergency", "999 or 112")
        (entry,) = await home.audit()
        assert entry.closed["verdicts"][0]["flags"] == ["alert", "review"]


async def test_a_client_that_leaves_while_it_is_judged_leaves_a_record():
    kids = shipped("kids-buddy")

    class Slow(Breaks):
        async def check(self, segment):
            await asyncio.sleep(0.3)
            return await self.rail.check(segment)

    rails = [replace(one, rail=Slow(one.rail)) if one.masks else one for one in kids.rails]
    async with house(Model(SAFE), replace(kids, rails=tuple(rails))) as home:
        asking = asyncio.create_task(home.ask("i want to die"))
        await asyncio.sleep(0.1)
        asking.cancel()
        for _ in range(100):
            entries = await home.audit()
            if entries:
                break
            await asyncio.sleep(0.01)
        assert [entry.closed["outcome"] for entry in entries] == ["disconnected"]
        assert entries[0].opened is not None


@pytest.mark.parametrize("is_down", [False, True])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_child_in_danger_is_told_of_where_the_client_leaves_while_other_rails_judge(
    monkeypatch, stream, is_down
):
    kids, begun = shipped("kids-buddy"), asyncio.Event()

    class Waits(Breaks):
        async def check(self, segment):
            begun.set()
            await asyncio.sleep(30)

    last = [replace(kids.rails[-1], rail=Waits(kids.rails[-1].rail), content=frozenset({"user"}))]
    policy = replace(kids, rails=(*kids.rails[:-1], *last), late_after=60.0)
    async with house(Model(SAFE), policy) as home:
        if is_down:
            monkeypatch.setattr(type(home.services.store), "run", Gone())
        asking = asyncio.create_task(home.ask("i want to die", stream=stream))
        await begun.wait()
        asking.cancel()
        kept = home.services.alerts
        async with asyncio.timeout(5):
            while not (list(kept.waiting()) if is_down else await kept.standing()):
                await asyncio.sleep(0.01)
        if not is_down:
            (entry,) = await home.audit()
            assert entry.closed["outcome"] == "disconnected"
            assert ("crisis", "end") in [(one["rail"], one["act"]) for one in entry.closed["verdicts"]]


async def test_an_unrecorded_crisis_is_told_to_the_operator(monkeypatch, caplog):
    async with house(Model(SAFE)) as home:
        monkeypatch.setattr(type(home.services.store), "run", Gone())
        assert await home.say("i want to die") == care("crisis_selfharm", "999 or 0800 1111")
        page = (await home.client.get("/metrics")).text
    assert 'outcome="unrecorded"' in page
    assert "is not recorded" in caplog.text


async def test_a_trimmed_answer_under_a_watching_policy_is_stored_masked():
    kids = shipped("kids-buddy")
    rails = [replace(one, mode="shadow", key=f"{one.id}:shadow") if one.masks else one for one in kids.rails]

    async def answer(wire):
        await wire.head()
        await wire.events(chunk("my mail is zorro@mail.com and then I we"), chunk("nt", "length"), "[DONE]")
        await wire.end()

    async with (
        upstream(answer, VLLM) as fake,
        house(None, replace(kids, rails=tuple(rails)), backend_url=fake.url) as home,
    ):
        await home.ask("hello")
        assert "zorro" not in str(await home.audit())


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "wrong",
    [{"n": 7}, {"temperature": "hot"}, {"logprobs": True, "prompt_logprobs": 3}, {"tools": [{"type": "x"}]}],
)
async def test_what_an_app_does_wrong_leaves_a_child_heard(stream, wrong):
    model = Model(SAFE)
    async with house(model) as home:
        refused = await home.ask("hello", stream=stream, **wrong)
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
        answered = await home.ask("hello", assistant("Hi."), "i want to die", stream=stream, **wrong)
        assert answered.status_code == 200
        assert "grown-up" in answered.text
        assert model.asked == []
        assert len(await home.services.alerts.standing()) == 1
        past = await home.ask("i want to die", assistant("Go to a grown-up."), "hello", stream=stream, **wrong)
        assert past.status_code == 400


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "i want to die"}]}], 200),
        ([{"role": "user", "content": "i want to die", "name": 7}, 5, {"role": "alien", "content": "x"}], 200),
        ([{"role": "assistant", "content": "i want to die"}, 5], 400),  # no child has said it
        ([{"role": "user", "content": [{"type": "image_url"}]}], 400),
        ("i want to die", 400),
        ([], 400),
        (None, 400),
    ],
)
async def test_messages_that_cannot_be_read_whole(messages, status):
    async with house(Model(SAFE)) as home:
        asked = {"model": "buddy", "messages": messages}
        assert (await home.client.post("/v1/chat/completions", json=asked)).status_code == status
