"""One turn after another, through a whole house on a real socket: memory, the two writes, and what a client sees."""

import asyncio
import json
import time
from dataclasses import replace

import openai
import pytest
from fake_upstream import VLLM, chunk, upstream
from house import asking, assistant, events_of, house, shipped, text_of
from model import SAFE, Model
from servers import everything

from proxy.backends.scripted import ScriptedBackend
from proxy.text import is_question

pytestmark = pytest.mark.usefixtures("lists_alone")  # how well the learned model judges is tried elsewhere

BUDDY = ScriptedBackend


@pytest.mark.parametrize(
    ("language", "stop", "after", "again"),
    [
        ("en", "I'm tired, good night", "mmm", "let's keep playing"),
        ("it", "basta, ho sonno", "mmm", "dai, giochiamo ancora"),
        ("ko", "이제 그만할래, 졸려", "음", "아니야 더 하자"),
    ],
)
async def test_a_stop_holds_until_the_child_starts_again(language, stop, after, again):
    model = Model("Do you want to play? We have fun. Shall we go on? One more?")
    async with house(model) as home:
        session = {"x-kindrail-session": "s"}
        first = (await home.ask(stop, headers=session)).json()
        assert model.asked == []
        assert first["usage"]["total_tokens"] == 0
        assert not is_question(first["choices"][0]["message"]["content"])
        events = await home.stream(stop, assistant("x"), after, headers=session)
        assert "?" not in text_of(events)
        assert text_of(events).strip()
        assert "?" in (await home.ask(again, headers=session)).json()["choices"][0]["message"]["content"]


async def test_a_stop_holds_without_a_session_id_by_the_transcript():
    model = Model("Do you want to play? We have fun.")
    async with house(model) as home:
        bye = await home.say("good night")
        talk = ["good night", assistant(bye), "mmm"]
        quiet = await home.say(*talk)
        assert "?" not in quiet
        # ... also by its last messages alone, and where nothing is known and the transcript must tell
        assert "?" not in await home.say(*talk, assistant(quiet), "hm")
        assert "?" not in await home.say("hello", assistant("Hi."), "good night", assistant("Bye."), "mmm")
        page = (await home.client.get("/metrics")).text
        assert 'kindrail_sessions_total{found="transcript"} 2.0' in page


async def test_a_stop_of_ten_turns_ago_does_not_end_again():
    talk = ["stop", assistant("Okay, we stop.")]
    for number in range(10):
        talk += [f"the bear finds {number} stones", assistant(f"It has {number} stones now.")]
    async with house(Model(SAFE)) as home:
        response = await home.ask(*talk, "and then it goes home")
        assert response.json()["choices"][0]["message"]["content"] == SAFE


async def test_consecutive_unanswered_messages_are_all_judged():
    model = Model(SAFE)
    async with house(model) as home:
        await home.say("hello", assistant("Hi."), "stop", "mmm")
        assert model.asked == []
        await home.say("my name is Oliver Baker", "and I like bears")
        assert "Oliver" not in json.dumps(model.asked)


async def test_a_repeated_sentence_is_said_once_in_a_conversation():
    async with house(Model("The little bear sleeps in its cave. Good.")) as home:
        first = await home.say("hello")
        assert first == "The little bear sleeps in its cave. Good."
        assert await home.say("hello", assistant(first), "and now") == "Good."


async def test_the_model_never_reads_private_data_and_neither_does_redis():
    model = Model("Nice, write to zorro@mail.com or call 010-1234-5678.")
    async with house(model) as home:
        talk = [
            "my name is Oliver Quixley and I live at 12 Marmalade Street",
            assistant("Hi."),
            "my mail is zorro@mail.com",
        ]
        for stream in (False, True):
            for session in (None, {"x-kindrail-session": "Quixley"}):
                sent = await (home.stream if stream else home.ask)(*talk, headers=session)
                assert "zorro" not in str(sent if stream else sent.text)
        asked = json.dumps(model.asked)
        stored = str(await everything(home.services.store))
        for datum in ("Quixley", "Marmalade", "zorro", "1234-5678"):
            assert datum not in asked
            assert datum not in stored
        for entry in await home.audit():
            assert "zorro" not in str(entry)
            assert entry.texts[-1].masked


async def test_the_audit_tells_what_was_decided():
    async with house(Model("Where do you live? I like bears.")) as home:
        response = await home.ask("hello")
        (entry,) = await home.audit(response.headers["x-kindrail-turn"])
        assert (entry.opened["policy"], entry.opened["language"], entry.opened["stream"]) == (
            "kids-buddy@1",
            "en",
            False,
        )
        (verdict,) = entry.closed["verdicts"]
        assert (verdict["rail"], verdict["act"], verdict["won"]) == ("asks-private", "replace", True)
        assert entry.closed["ms"].keys() >= {"total", "rails", "upstream"}
        said, sent = entry.texts[-2:]
        assert (said.role, said.masked) == ("assistant", "Where do you live? I like bears.")
        assert (sent.role, "Where do you live" in sent.masked) == ("sent", False)


async def test_a_turn_that_no_rail_touched_keeps_no_text():
    async with house(Model(SAFE)) as home:
        response = await home.ask("tell me of the moon")
        (entry,) = await home.audit(response.headers["x-kindrail-turn"])
        assert (entry.closed["verdicts"], entry.texts) == ([], ())


async def test_one_read_and_two_writes():
    async with house(Model(SAFE)) as home:
        for headers in (None, {"x-kindrail-session": "s"}):
            await home.say("hello", headers=headers) if headers is None else await home.ask("hello", headers=headers)
            before = home.services.store.trips
            response = await home.ask("hello", assistant(SAFE), "go on", headers=headers)
            assert response.status_code == 200
            assert home.services.store.trips - before == 3


async def test_records_stand_before_the_first_byte_and_before_the_last():
    async with house(Model("The bear is here. The moon is there. So.", delay=0.05)) as home:
        body = asking(["hello"], {"stream": True})
        async with home.client.stream("POST", "/v1/chat/completions", json=body) as response:
            async for found in events_of(response):
                (entry,) = await home.audit(response.headers["x-kindrail-turn"])
                if found == "[DONE]" or found["choices"][0]["finish_reason"]:
                    assert entry.closed is not None
                else:
                    assert entry.opened is not None


async def test_the_latch_stands_before_the_first_byte():
    async with house(Model(SAFE, delay=0.05)) as home:
        await home.ask("good night", headers={"x-kindrail-session": "s"})
        started = asyncio.create_task(home.stream("okay let's play again", headers={"x-kindrail-session": "s"}))
        await asyncio.sleep(0.1)
        stored = str(await everything(home.services.store))
        assert '"quiet":false' in stored
        await started


async def test_the_first_sentence_waits_for_no_token_more():
    model = Model("The bear is here. And then a long long sentence comes that takes its time", delay=0.05)
    async with house(model) as home:
        begun = time.perf_counter()
        body = asking(["hello"], {"stream": True})
        async with home.client.stream("POST", "/v1/chat/completions", json=body) as response:
            text = ""
            async for found in events_of(response):
                text += text_of([found])
                if text.endswith("here."):
                    break
        # four tokens make the sentence, the fifth settles it; two more would take 0.1 s
        assert 0.25 <= time.perf_counter() - begun < 0.34


@pytest.mark.parametrize("stream", [True, False])
async def test_a_clamp_cancels_the_generation(stream):
    model = Model("One bear. Two bears. Three bears. Four bears. " + "More bears. " * 50, delay=0.002)
    async with house(model) as home:
        ask = home.stream if stream else home.ask
        sent = await ask("hello", stream_options={"include_usage": True} if stream else None)
        text = text_of(sent) if stream else sent.json()["choices"][0]["message"]["content"]
        assert text == "One bear. Two bears. Three bears. Four bears."
        assert model.closed == 1
        usage = sent[-2]["usage"] if stream else sent.json()["usage"]
        assert 0 < usage["completion_tokens"] < 30


async def test_an_answer_cut_by_its_limit_ends_with_a_whole_sentence():
    async def answer(wire):
        await wire.head()
        await wire.events(chunk("The bear is here. And then it we"), chunk("nt", "length"), "[DONE]")
        await wire.end()

    async with upstream(answer, VLLM) as fake, house(backend_url=fake.url) as home:
        choice = (await home.ask("hello")).json()["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("The bear is here.", "length")


async def test_the_policys_settings_reach_the_model():
    model = Model(SAFE)
    async with house(model) as home:
        await home.say({"role": "system", "content": "You are Nesso."}, "hello", max_tokens=900, temperature=1.9)
        body = model.asked[0]
        assert (body["max_tokens"], body["temperature"], body["repetition_penalty"]) == (120, 0.7, 1.08)
        assert body["messages"][0]["role"] == "system"
        assert body["messages"][0]["content"].endswith("\n\nYou are Nesso.")
        await home.say({"role": "system", "content": "You are Nesso."}, "hello", model="ko-gemma-2-9b-it")
        (only,) = model.asked[1]["messages"]
        assert only["role"] == "user"
        assert only["content"].endswith("You are Nesso.\n\nhello")


async def test_prompts_grow_at_their_end_only():
    model = Model(SAFE)
    async with house(model) as home:
        talk = ["my name is Oliver Baker"]
        for said in ("tell me more", "and the moon", "my mail is a@mail.com"):
            talk += [assistant(await home.say(*talk)), said]
        await home.say(*talk)
        prompts = [json.dumps(body["messages"])[:-2] for body in model.asked]
        # the last message of each may carry a note for its turn; all before it stays as it was
        for body, later in zip(model.asked, model.asked[1:], strict=False):
            assert later["messages"][: len(body["messages"]) - 1] == body["messages"][:-1]
        assert len(prompts) == 4


async def test_a_block_gives_the_policys_finish_reason():
    for reason in ("stop", "content_filter"):
        async with house(Model("Where do you live?"), replace(shipped("kids-buddy"), blocked_as=reason)) as home:
            assert (await home.ask("hello")).json()["choices"][0]["finish_reason"] == reason
            assert (await home.stream("hello"))[-2]["choices"][0]["finish_reason"] == reason


async def test_reasoning_and_tool_calls_that_no_rail_judged_do_not_leave():
    async def answer(wire):
        await wire.head()
        hidden = {"reasoning_content": "Zebra", "tool_calls": [{"function": {"arguments": "Zebra"}}]}
        choices = [
            {"index": 0, "delta": {"content": "Hi", **hidden}, "text": "Zebra"},
            {"index": 1, "delta": {"content": "Zebra"}},
        ]
        await wire.events(
            json.dumps({"id": "c", "choices": choices, "prompt_text": "Zebra"}), chunk(" there.", "stop"), "[DONE]"
        )
        await wire.end()

    async with upstream(answer, VLLM) as fake, house(backend_url=fake.url) as home:
        assert "Zebra" not in str(await home.stream("hello"))
        whole = (await home.ask("hello")).json()
        assert (whole["choices"][0]["message"]["content"], "Zebra" in str(whole)) == ("Hi there.", False)


async def test_the_openai_client_is_satisfied_chunk_by_chunk():
    async with house(BUDDY(0)) as home:
        client = openai.AsyncOpenAI(base_url=f"{home.url}/v1", api_key="none")
        messages = [{"role": "user", "content": "Tell me a story"}]
        whole = await client.chat.completions.create(model="buddy", messages=messages)
        assert whole.choices[0].message.content
        assert whole.usage.completion_tokens > 0
        stream = await client.chat.completions.create(
            model="buddy", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = [one async for one in stream]
        assert chunks[0].choices[0].delta.role == "assistant"
        assert (
            "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
            == whole.choices[0].message.content
        )
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].usage.completion_tokens > 0
        assert [model.id for model in (await client.models.list()).data] == ["buddy"]
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="nobody", messages=messages)
        await client.close()


SAYINGS = {
    "en": ["hello", "tell me a story", "my name?", "can we light a candle?", "let's jump", "your phone?", "again", "good night", "mmm", "hm"],
    "it": ["ciao", "mi racconti una storia", "come mi chiamo?", "accendiamo una candela?", "saltiamo", "il telefono?", "ancora", "buonanotte", "mmm", "eh"],
    "ko": ["안녕", "동화 들려줘", "내 이름은?", "촛불 켜도 돼?", "뛰어내릴까", "전화번호는?", "또 해", "잘 자", "음", "응"],
}  # fmt: skip


@pytest.mark.parametrize("language", SAYINGS)
@pytest.mark.parametrize("streamed", [True, False])
async def test_the_buddy_behaves_in_a_whole_conversation(language, streamed):
    """The issue's own promise: after a stop no question, never more than four sentences and one question, no datum."""
    async with house(BUDDY(0)) as home:
        talk, stopped = [], False
        for said in SAYINGS[language]:
            talk.append(said)
            if streamed:
                answer = text_of(await home.stream(*talk))
            else:
                answer = await home.say(*talk)
            talk.append(assistant(answer))
            stopped = stopped or said in ("good night", "buonanotte", "잘 자")
            sentences = [part for part in split(answer) if part.strip()]
            assert 1 <= len(sentences) <= 4
            questions = sum(is_question(one) for one in sentences)
            assert questions <= (0 if stopped else 1)
            assert "@" not in answer
            assert not any(
                character.isdigit() for character in answer.replace("112", "").replace("911", "").replace("119", "")
            )


def split(text):
    from proxy.segments import Segmenter

    cutter = Segmenter()
    return [cut.text for cut in [*cutter.feed(text), *cutter.finish()]]


async def test_the_session_id_of_an_answer_can_be_sent_back():
    async with house(Model("Do you want to play? We have fun.")) as home:
        told = (await home.ask("good night")).headers["x-kindrail-session"]
        later = await home.ask("mmm", headers={"x-kindrail-session": told})
        assert "?" not in later.json()["choices"][0]["message"]["content"]


async def test_a_prefilled_answer_is_redacted_for_the_model():
    model = Model("is here.")
    async with house(model) as home:
        await home.say("hello", assistant("Your mail zorro@mail.com"))
        assert "zorro" not in json.dumps(model.asked)
