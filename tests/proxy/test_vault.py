"""The vault: what the model reads, what comes back and to whom, and what lies in Redis."""

import asyncio
import json
import re
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from drive import chunked
from house import assistant, house, shipped, text_of
from model import Model, event
from saying import call, chunk
from servers import everything

from proxy.config import SHIPPED_POLICIES, KeyEntry
from proxy.faults import PolicyError
from proxy.keyring import hashed, new_key
from proxy.keys import Keys
from proxy.policy.load import load_policy
from proxy.policy.schema import VaultRules
from proxy.sessions import Sessions
from proxy.turn import Span
from proxy.vault import Contents, Vault

RULES = VaultRules(restore=["PERSON", "EMAIL_ADDRESS"], neutral={"en": "(hidden)", "ko": "비공개 정보"})
KNOWN = {"PERSON_1": "Anna Rossi", "PERSON_2": "민수", "AGE_1": "42", "EMAIL_ADDRESS_1": 'a"b@example.com'}
ENTITIES = frozenset({"PERSON", "AGE", "EMAIL_ADDRESS", "LOCATION", "DATE_OF_BIRTH"})


def vault(values=None):
    return Vault(RULES, ENTITIES, Contents(dict(KNOWN) if values is None else values))


def spans(text, **data):
    return [
        Span(text.index(datum), text.index(datum) + len(datum), entity.rstrip("0123456789"))
        for entity, datum in data.items()
    ]


# -- the placeholders themselves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "restored"),
    [
        ("Hello <PERSON_1>.", "Hello Anna Rossi."),
        ("<person_1>, <Person_01> and < PERSON_1 >", "Anna Rossi, Anna Rossi and Anna Rossi"),
        ("<PERSON 1> [PERSON_1] {PERSON-1} <PERSON1>", "Anna Rossi Anna Rossi Anna Rossi Anna Rossi"),
        ("PERSON_1 and person_1, (PERSON_1)", "Anna Rossi and Anna Rossi, (Anna Rossi)"),
        ("＜ＰＥＲＳＯＮ＿１＞ 《PERSON_1》", "Anna Rossi Anna Rossi"),
        (r"**PERSON\_1** &lt;PERSON_1&gt;", "**Anna Rossi** Anna Rossi"),
        ("<PERSON_1>은 <PERSON_1>이야, PERSON_1에게", "Anna Rossi은 Anna Rossi이야, Anna Rossi에게"),
        ("<PERSON_2>은 <PERSON_2>으로", "민수는 민수로"),  # the particle agrees with what stands there now
        ("She is <AGE_1>.", "She is (hidden)."),  # kept, and not given back
        ("Ask <PERSON_7>, <date of birth 3>.", "Ask (hidden), (hidden)."),  # nobody's
        ("[LOCATION_7]", "(hidden)"),
        ("[Location 7], LOCATION_7 = 1; x<y1, <b1>, <PERSON_>, <CITY_1>", None),  # a heading, a program
        ("no digit here: <PERSON>", None),
    ],
)
def test_what_comes_back(text, restored):
    assert vault().restored(text, "en") == (text if restored is None else restored)


def test_the_neutral_word_is_of_the_language_and_its_particle_agrees():
    assert vault().restored("<AGE_1>은 <AGE_1>을", "ko") == "비공개 정보는 비공개 정보를"
    assert vault().restored("<AGE_1>", "it") == "(hidden)"  # the first, where the language has none


def test_json_stays_json():
    text = '{"to": "<EMAIL_ADDRESS_1>", "cc": "\\u003cEMAIL_ADDRESS_1\\u003e", "n": 1}'
    restored = json.loads(vault().restored(text, "en", within_json=True))
    assert restored == {"to": KNOWN["EMAIL_ADDRESS_1"], "cc": KNOWN["EMAIL_ADDRESS_1"], "n": 1}


def test_a_datum_keeps_its_number_however_it_is_written():
    one = vault({})
    cover = lambda text, adds=True, **data: one.cover(text, spans(text, **data), "<{}>".format, adds)  # noqa: E731
    assert cover("Anna, 010-1234-5678, Tom", PERSON="Anna", PHONE="010-1234-5678", PERSON2="Tom") == (
        "<PERSON_1>, <PHONE_1>, <PERSON_2>"
    )
    assert cover("ＡＮＮＡ 010 1234 5678", PERSON="ＡＮＮＡ", PHONE="010 1234 5678") == "<PERSON_1> <PHONE_1>"
    assert cover("Anna or Eva", adds=False, PERSON="Anna", PERSON2="Eva") == "<PERSON_1> or <PERSON>"
    assert cover("<PERSON_1>", PERSON="<PERSON_1>") == "<PERSON_1>"  # no placeholder for a placeholder
    assert one.values == {"PERSON_1": "Anna", "PHONE_1": "010-1234-5678", "PERSON_2": "Tom"}
    assert (
        Vault(RULES, ENTITIES, Contents(one.values)).cover("Jo", spans("Jo", PERSON="Jo"), str, adds=True)
        == "<PERSON_3>"
    )


def test_an_earlier_answer_is_searched_for_what_was_given_back_and_for_nothing_else():
    text = "Anna Rossi는 42, Annamaria Rossi, xAnna Rossi, 민수야"
    found = {text[span.start : span.end]: span.entity for span in vault().told(text)}
    assert found == {"Anna Rossi": "PERSON_1", "민수": "PERSON_2"}
    assert sum(span.entity == "PERSON_1" for span in vault().told(text)) == 1


def test_where_an_answer_was_given_data_is_noted_and_the_same_words_elsewhere_stay():
    contents = Contents({"PERSON_1": "Rose", "PERSON_2": "민수", "AGE_1": "9"})
    one = Vault(RULES, ENTITIES, contents)
    sent = "\n <PERSON_2>은 여기. [person_1]! Rose is red, <AGE_1>, ＜PERSON_1＞."
    shown = one.given(sent, "en")
    assert shown == "\n 민수는 여기. Rose! Rose is red, (hidden), Rose."
    for text in (shown, shown.strip(), f"  {shown}\n"):
        masked = Vault(RULES, ENTITIES, contents).cover(text, one.told(text), str, adds=False)
        assert masked.strip() == "<PERSON_2>는 여기. <PERSON_1>! Rose is red, (hidden), <PERSON_1>."
    for number in range(60):
        one.given(f"{number} <PERSON_1>", "en")
    assert len(contents.answers) == 50
    assert len(list(one.told(shown))) == 4  # searched by now


def test_it_does_not_grow_without_end():
    one = vault({})
    for number in range(1100):
        text = f"n{number}"
        covered = one.cover(text, spans(text, PERSON=text), "<{}>".format, adds=True)
    assert (len(one.values), covered) == (1000, "<PERSON>")
    text = "x" * 2000
    assert vault({}).cover(text, spans(text, PERSON=text), "<{}>".format, adds=True) == "<PERSON>"


# -- through the house -------------------------------------------------------------------------------------------------

MAIL, PHONE, CARD = "anna.rossi@example.com", "010-1234-5678", "4111 1111 1111 1111"
SAID = f"I am at {MAIL} or {PHONE}, my card is {CARD}."
READ = "I am at <EMAIL_ADDRESS_1> or <PHONE_NUMBER_1>, my card is <CREDIT_CARD_1>."
ANSWER = "I wrote to <EMAIL_ADDRESS_1> and called <phone number 1>. Your card <CREDIT_CARD_1> and <PERSON_4> are fine."
SHOWN = f"I wrote to {MAIL} and called {PHONE}. Your card (hidden) and (hidden) are fine."
SESSION = {"x-kindrail-session": "desk"}


@asynccontextmanager
async def adult(*answers, **more):
    model = answers[0] if answers and not isinstance(answers[0], str) else Model(*answers)
    async with house(model, "general", **more) as one:
        yield one, model


def read(model, nth=-1):
    return [one["content"] for one in model.asked[nth]["messages"]]


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_model_reads_placeholders_and_the_user_gets_the_data_back(streamed):
    async with adult(ANSWER) as (one, model):
        said = text_of(await one.stream(SAID)) if streamed else await one.say(SAID)
        assert (read(model), said) == ([READ], SHOWN)


@pytest.mark.parametrize("headers", [SESSION, None])
async def test_an_answer_that_comes_back_is_masked_again(headers):
    async with adult(ANSWER, "<EMAIL_ADDRESS_2> too.") as (one, model):
        await one.ask(SAID, headers=headers)
        ask = await one.ask(SAID, assistant(SHOWN), "And tom@example.com, ANNA.ROSSI@example.com?", headers=headers)
        assert read(model) == [
            READ,
            "I wrote to <EMAIL_ADDRESS_1> and called <PHONE_NUMBER_1>. Your card (hidden) and (hidden) are fine.",
            "And <EMAIL_ADDRESS_2>, <EMAIL_ADDRESS_1>?",
        ]
        assert ask.json()["choices"][0]["message"]["content"] == "tom@example.com too."


async def test_a_named_session_remembers_what_its_app_sends_no_more():
    async with adult("Fine.", "I ask <EMAIL_ADDRESS_1>, not <EMAIL_ADDRESS_2>.") as (one, model):
        await one.ask(SAID, headers=SESSION)
        answer = await one.ask("Whom do you ask? tom@example.com?", headers=SESSION)
        assert read(model) == ["Whom do you ask? <EMAIL_ADDRESS_2>?"]
        assert answer.json()["choices"][0]["message"]["content"] == f"I ask {MAIL}, not tom@example.com."


async def test_a_session_found_by_what_was_said_has_no_vault():
    async with adult("Fine, noted.", "I ask <EMAIL_ADDRESS_1>.") as (one, _):
        first = await one.ask(SAID)
        name = {"x-kindrail-session": first.headers["x-kindrail-session"]}
        assert (await one.ask("Who?", headers=name)).json()["choices"][0]["message"]["content"] == f"I ask {MAIL}."
        again = await one.ask(SAID, assistant("Fine, noted."), "Who?")  # by its transcript: the id is no secret now
        assert again.headers["x-kindrail-session"] == name["x-kindrail-session"]
        late = await one.ask("Who?", headers=name)
        assert late.json()["choices"][0]["message"]["content"] == "I ask (hidden)."


async def test_an_unnamed_session_is_found_by_the_answer_as_the_app_has_it():
    async with adult(ANSWER) as (one, _):
        await one.ask(SAID)
        await one.ask(SAID, assistant(SHOWN), "Go on.")
        assert sorted(entry.opened["found"] for entry in await one.audit()) == ["new", "transcript"]


async def test_what_a_tool_brings_is_hidden_and_what_it_is_asked_is_not():
    arguments = '{"to": "<EMAIL_ADDRESS_1>", "card": "<CREDIT_CARD_1>"}'

    class Caller(Model):
        async def stream(self, ask):
            self.asked.append(ask.body)
            if len(self.asked) > 1:
                yield event({"content": "<EMAIL_ADDRESS_2> has answered."})
                yield event({}, "stop")
                return
            for delta in [chunk(tool_calls=[call(0, "c1", "mail", part)]) for part in chunked(arguments, 1)]:
                yield delta
            yield chunk("tool_calls")

    tools = [{"type": "function", "function": {"name": "mail"}}]
    async with adult(Caller()) as (one, model):
        message = (await one.ask(SAID, tools=tools, headers=SESSION)).json()["choices"][0]["message"]
        made = message["tool_calls"][0]
        assert json.loads(made["function"]["arguments"]) == {"to": MAIL, "card": "(hidden)"}
        result = {"role": "tool", "tool_call_id": made["id"], "content": "From: tom@example.com"}
        asked = {"role": "assistant", "content": None, "tool_calls": [made]}
        answer = await one.ask(SAID, asked, result, tools=tools, headers=SESSION)
        sent = model.asked[-1]["messages"]
        assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"])["to"] == "<EMAIL_ADDRESS_1>"
        assert sent[2]["content"] == "From: <EMAIL_ADDRESS_2>"
        assert answer.json()["choices"][0]["message"]["content"] == "tom@example.com has answered."


async def test_a_json_answer_and_reasoning_come_back_whole():
    async with adult('{"mail": "<EMAIL_ADDRESS_1>"}') as (one, _):
        body = await one.say(SAID, response_format={"type": "json_object"})
        assert json.loads(body) == {"mail": MAIL}
    async with adult("<think>I ask <EMAIL_ADDRESS_1>.</think>Done, <CREDIT_CARD_1>.") as (one, _):
        assert await one.say(SAID) == f"<think>I ask {MAIL}.</think>Done, (hidden)."


async def test_a_datum_of_the_models_own_is_hidden_as_before():
    async with adult("Try jo@example.com or anna.rossi@example.com.") as (one, _):
        assert await one.say(SAID) == f"Try <EMAIL_ADDRESS> or {MAIL}."


@pytest.mark.parametrize("lead", [284, 290, 296])
async def test_a_placeholder_is_whole_where_a_long_piece_is_cut(lead):
    words = " ".join(f"{a}{b}{c}" for a in "bcdfg" for b in "aeiou" for c in "lmnrst")
    long = f"{words[:lead].rsplit(' ', 1)[0]} <EMAIL_ADDRESS 1> {words[300:]} <PHONE_NUMBER_1>!"
    shown = long.replace("<EMAIL_ADDRESS 1>", MAIL).replace("<PHONE_NUMBER_1>", PHONE)

    class Bits(Model):
        async def stream(self, ask):
            self.asked.append(ask.body)
            for part in list(long) if len(self.asked) == 1 else chunked(long, len(self.asked)):
                yield event({"content": part})
            yield event({}, "stop")

    async with adult(Bits()) as (one, _):
        for _ in range(3):
            assert text_of(await one.stream(SAID)) == shown


async def test_what_lies_in_redis_is_sealed_and_goes_with_the_session():
    async with adult(ANSWER) as (one, _):
        await one.ask(SAID, headers=SESSION)
        redis, kept = one.services.store.redis, str(await everything(one.services.store))
        assert not [datum for datum in (MAIL, PHONE, CARD, "rossi", "1234-5678") if datum in kept]
        keys = [key async for key in redis.scan_iter("kindrail:session:*")]
        with_vault = [key for key in keys if await redis.hexists(key, ":vault")]
        assert len(with_vault) == len(keys) == 1
        assert 0 < await redis.ttl(keys[0]) <= shipped("general").keep.sessions
        (record,) = await one.audit((await one.ask("hm", headers=SESSION)).headers["x-kindrail-turn"]) or [None]
        assert record is not None


async def test_another_policys_turn_leaves_the_vault_alone():
    key = new_key()
    entry = KeyEntry(id="app", hash=hashed(key), policy="general", policies=["*"])
    of_app = {**SESSION, "authorization": f"Bearer {key}"}
    bare = replace(shipped("general"), name="bare", vault=None)
    async with house(Model("I ask <EMAIL_ADDRESS_1>."), "general", more=[bare], keys=[entry]) as one:
        await one.ask(SAID, headers=of_app)
        await one.ask("hello", headers={**of_app, "x-kindrail-policy": "bare"})
        assert (await one.ask("Whom?", headers=of_app)).json()["choices"][0]["message"]["content"] == f"I ask {MAIL}."


class Echo(Model):
    """Says the placeholder that it reads in the last message, and one that it makes up, a word an event."""

    async def stream(self, ask):
        self.asked.append(ask.body)
        marks = re.findall(r"<\w+>", ask.body["messages"][-1]["content"])
        for word in f"Yours: {' '.join(marks)} and <EMAIL_ADDRESS_1> and <EMAIL_ADDRESS_2>.".split(" "):
            await asyncio.sleep(0.002)
            yield event({"content": f"{word} "})
        yield event({}, "stop")


async def test_two_sessions_never_see_each_others_data(redis_url):
    """Forty talks at once over a real Redis, named and not, streamed and not; each gets its own data alone."""
    async with adult(Echo(), redis_url=redis_url) as (one, model):

        async def talk(number):
            own = f"user{number}@example.com"
            headers = {"x-kindrail-session": f"s{number}"} if number % 3 else None
            for turn in range(3):
                asked = f"I am {own}." if turn == 0 or headers is None else f"It is still USER{number}@example.com."
                if number % 2:
                    said = text_of(await one.stream(asked, headers=headers))
                else:
                    said = (await one.ask(asked, headers=headers)).json()["choices"][0]["message"]["content"]
                assert said.strip() == f"Yours: {own} and {own} and (hidden)."

        await asyncio.gather(*map(talk, range(40)))
        assert not [body for body in model.asked if "@" in json.dumps(body["messages"])]


@pytest.mark.parametrize("streamed", [False, True])
async def test_two_tenants_of_one_sessions_name_are_strangers(redis_url, streamed):
    keys = {name: new_key() for name in ("a", "b")}
    entries = [KeyEntry(id=name, hash=hashed(key), tenant=name, policy="general") for name, key in keys.items()]
    async with adult(Echo(), redis_url=redis_url, keys=entries) as (one, _):

        async def say(name, text):
            headers = {**SESSION, "authorization": f"Bearer {keys[name]}"}
            if streamed:
                return text_of(await one.stream(text, headers=headers)).strip()
            return (await one.ask(text, headers=headers)).json()["choices"][0]["message"]["content"].strip()

        assert await say("a", f"I am {MAIL}.") == f"Yours: {MAIL} and {MAIL} and (hidden)."
        assert await say("b", "Who am I?") == "Yours:  and (hidden) and (hidden)."
        assert await say("a", "Who am I?") == f"Yours:  and {MAIL} and (hidden)."


async def test_what_the_responses_route_keeps_is_masked_and_comes_back():
    async with adult("Fine, <EMAIL_ADDRESS_1>.", "I ask <EMAIL_ADDRESS_1> and <EMAIL_ADDRESS_2>.") as (one, model):
        first = (await one.client.post("/v1/responses", json={"model": "m", "input": SAID})).json()
        assert first["output"][0]["content"][0]["text"] == f"Fine, {MAIL}."
        more = {"model": "m", "input": "Or tom@example.com?", "previous_response_id": first["id"]}
        again = (await one.client.post("/v1/responses", json=more)).json()
        assert read(model) == [READ, "Fine, <EMAIL_ADDRESS_1>.", "Or <EMAIL_ADDRESS_2>?"]
        assert again["output"][0]["content"][0]["text"] == f"I ask {MAIL} and tom@example.com."


async def test_each_of_several_answers_gets_them_back():
    class Two(Model):
        async def stream(self, ask):
            self.asked.append(ask.body)
            for index in (0, 1):
                yield chunk(index=index, content=f"{index} to <EMAIL_ADDRESS_1> and <EMAIL_ADDRESS_{index + 1}>.")
                yield chunk("stop", index)

    async with adult(Two()) as (one, _):
        choices = (await one.ask(SAID, n=2)).json()["choices"]
        assert [choice["message"]["content"] for choice in choices] == [
            f"0 to {MAIL} and {MAIL}.",
            f"1 to {MAIL} and (hidden).",
        ]


async def test_what_is_embedded_has_no_numbers():
    class Vectors(Model):
        async def whole(self, ask):
            self.asked.append(ask.body)
            return {"object": "list", "data": [], "model": "m"}

    async with adult(Vectors()) as (one, model):
        await one.client.post("/v1/embeddings", json={"model": "m", "input": [MAIL, "tom@example.com"]})
        assert model.asked[0]["input"] == ["<EMAIL_ADDRESS>", "<EMAIL_ADDRESS>"]


def test_what_no_rail_hides_cannot_be_given_back(tmp_path):
    text = (SHIPPED_POLICIES / "general.yaml").read_text("utf-8")
    path = tmp_path / "general.yaml"
    path.write_text(text.replace("restore: [EMAIL_ADDRESS,", "restore: [PERSON, EMAIL_ADRESS,"), "utf-8")
    with pytest.raises(PolicyError) as refused:
        load_policy(path)
    first, second = refused.value.faults
    assert first.message == "no rail of this policy hides `PERSON`"
    assert (second.message, second.hint) == (
        "no rail of this policy hides `EMAIL_ADRESS`", "did you mean `EMAIL_ADDRESS`?",
    )  # fmt: skip


async def test_nothing_of_it_is_in_logs_or_metrics(caplog):
    caplog.set_level("DEBUG")
    async with adult(ANSWER) as (one, _):
        await one.ask(SAID, headers=SESSION)
        page = (await one.client.get("/metrics")).text
    ours = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("kindrail"))
    assert not [datum for datum in (MAIL, PHONE, CARD) if datum in page + ours]


async def test_a_vault_that_no_secret_opens_is_empty(embedded_store):
    sessions = Sessions(embedded_store, Keys([b"1" * 32]))
    pipe, session = embedded_store.pipe(), await sessions.find("desk", [])
    session.vault.values["PERSON_1"] = "Anna"
    sessions.commit(pipe, session, {}, [], 60.0)
    await embedded_store.run(pipe)
    assert (await sessions.find("desk", [])).vault == Contents({"PERSON_1": "Anna"})
    rotated = Sessions(embedded_store, Keys([b"2" * 32, b"1" * 32]))
    found = await rotated.find("desk", [])
    assert (found.vault, found.opened) == (Contents({"PERSON_1": "Anna"}), b"")  # it moves to its new key
    key = [key async for key in embedded_store.redis.scan_iter("kindrail:session:*")][0]
    await embedded_store.redis.hset(key, ":vault", "damaged")
    assert (await sessions.find("desk", [])).vault == Contents()
