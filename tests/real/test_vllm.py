"""Conversations through the whole house with a real vLLM, whose stream is cut at its own whim."""

import asyncio
from contextlib import aclosing

import openai
import orjson
import pytest
from house import asking, assistant, events_of, house, text_of
from real.kit import LONG, STREAMS, counted, every_way, filled, roomy, saying, tries, until

from proxy.backends.openai import OpenAIBackend

pytestmark = pytest.mark.real

# -- rails -------------------------------------------------------------------------------------------------------------

RAILS = [  # rail, language, what the user says, what the model says, what leaves
    ("asks-private", "en", "Hello, let's play", "Hi there! What's your name? Let's play.", "Hi there! {no_secrets} Let's play."),
    ("asks-private", "it", "Ciao, giochiamo", "Ciao! Come ti chiami? Giochiamo.", "Ciao! {no_secrets} Giochiamo."),
    ("asks-private", "ko", "안녕, 같이 놀자", "반가워! 넌 이름이 뭐야? 같이 놀자.", "반가워! {no_secrets} 같이 놀자."),
    ("risky-play", "en", "What shall we do?", "I know. Now light a match and hold it up! Then we sing.", "I know. {safe_play} Then we sing."),
    ("risky-play", "it", "Che cosa facciamo?", "Lo so. Sali sul divano e salta giù più lontano che puoi. Poi cantiamo.", "Lo so. {safe_play} Poi cantiamo."),
    ("risky-play", "ko", "우리 뭐 할까?", "좋아. 네 방에 진짜 촛불을 켜 보자. 그리고 노래하자.", "좋아. {safe_play} 그리고 노래하자."),
    ("unsafe-topic", "en", "Tell me a story", "It is dark. The robber takes his gun and shoots.", "It is dark. {other_topic}"),
    ("unsafe-topic", "it", "Raccontami una storia", "È buio. Il bandito prende la pistola.", "È buio. {other_topic}"),
    ("unsafe-topic", "ko", "이야기해 줘", "밤이야. 총을 쏴서 나쁜 사람을 죽여.", "밤이야. {other_topic}"),
    ("hide-private", "en", "How can I write to you?", "Write to me at buddy@example.com, my friend.", "Write to me at {EMAIL_ADDRESS}, my friend."),
    ("hide-private", "en", "Can I ring you?", "Sure. My number is 212-555-0147. Bye.", "Sure. My number is {PHONE_NUMBER}. Bye."),
    ("hide-private", "it", "Ciao, posso chiamarti?", "Certo. Il numero è 347 812 5590. A presto.", "Certo. Il numero è {PHONE_NUMBER}. A presto."),
    ("hide-private", "ko", "전화해도 돼?", "응. 전화번호는 이거야: 010-1234-5678. 안녕.", "응. 전화번호는 이거야: {PHONE_NUMBER}. 안녕."),
    ("clamp", "en", "Count the stars", "One star. Two stars. Three stars. Four stars. Five stars.", "One star. Two stars. Three stars. Four stars."),
    ("clamp", "it", "Conta le stelle", "Una stella. Due stelle. Tre stelle. Quattro stelle. Cinque.", "Una stella. Due stelle. Tre stelle. Quattro stelle."),
    ("clamp", "ko", "별을 세어 줘", "별 하나. 별 둘. 별 셋. 별 넷. 별 다섯.", "별 하나. 별 둘. 별 셋. 별 넷."),
    ("clamp", "en", "Let's paint", "Is it red? Or is it blue? Let's paint.", "Is it red? Let's paint."),
    ("clamp", "it", "Dipingiamo insieme", "È rosso? O è blu? Dipingiamo.", "È rosso? Dipingiamo."),
    ("clamp", "ko", "같이 그림 그리자", "빨간색일까? 아니면 파란색일까? 같이 칠하자.", "빨간색일까? 같이 칠하자."),
    ("repeat", "en", "Go on", "The bear walks to the pond. The bear walks to the pond. It is blue.", "The bear walks to the pond. It is blue."),
    ("repeat", "it", "Vai avanti", "L'orsetto va al lago. L'orsetto va al lago. È blu.", "L'orsetto va al lago. È blu."),
    ("repeat", "ko", "계속해 줘", "아기 곰이 연못으로 가. 아기 곰이 연못으로 가. 물이 파래.", "아기 곰이 연못으로 가. 물이 파래."),
]  # fmt: skip


@pytest.mark.parametrize(("rail", "lang", "user", "says", "leaves"), RAILS)
async def test_each_rail_on_a_real_stream(vllm, rail, lang, user, says, leaves):
    policy = roomy()
    async with house(policy=policy, backend_url=vllm.url) as home:
        assert await every_way(home, user, session="play-", **saying(says)) == filled(leaves, policy, lang)
        turns = await home.audit()
        assert len(turns) == STREAMS + 1
        for turn in turns:
            assert turn.closed["outcome"] == "answered"
            assert rail in {verdict["rail"] for verdict in turn.closed["verdicts"] if verdict["won"]}


@pytest.mark.parametrize(
    ("lang", "stop", "bye", "says", "leaves"),
    [
        ("en", "stop!", "bye_stop", "The bear naps. Shall we play? It is warm. The moon is up.", "The bear naps. It is warm."),
        ("it", "basta", "bye_stop", "L'orso dorme. Giochiamo ancora? Fa caldo. C'è la luna.", "L'orso dorme. Fa caldo."),
        ("ko", "그만할래", "bye_stop", "곰이 자고 있어. 더 놀까? 방이 따뜻해. 달이 떴어.", "곰이 자고 있어. 방이 따뜻해."),
    ],
)  # fmt: skip
async def test_the_buddy_stays_quiet_after_a_stop(vllm, lang, stop, bye, says, leaves):
    policy = roomy()
    async with house(policy=policy, backend_url=vllm.url) as home:
        asked = vllm.metric("vllm:prompt_tokens_total")
        answer = await every_way(home, stop, session="nap-", **saying(says))
        assert answer == policy.line(bye, lang)
        assert vllm.metric("vllm:prompt_tokens_total") == asked  # the house said it: the model was not asked
        later = [stop, assistant(answer), "mmh"]
        assert await every_way(home, *later, session="nap-", **saying(says)) == leaves


# -- what no rail touches ----------------------------------------------------------------------------------------------

UNTOUCHED = [
    ("kids-buddy", "Tell me of the fox", '  The fox naps…\n\nIt dreams of 1, 2, 3 plums 🦊! "Mmh", says the fox.\n'),
    ("kids-buddy", "Raccontami della volpe", "La volpe è lì — perché no? Sogna le prugne, così dolci."),
    ("kids-buddy", "여우 이야기 해 줘", "여우가 자고 있어.  자두 꿈을 꾸네! 우리도 쉬자."),
    ("general", "List the steps", "Two steps:\n\n1. Open `app.py`.\n2. Run it…\n\n```sh\nmake run  # 8080\n```\n"),
    ("general", "Elenca i passi", "Due passi: primo, apri il file; secondo, eseguilo. Tutto qui, perché basta così."),
    ("general", "순서를 알려 줘", "두 단계입니다. 먼저 파일을 열고, 그다음 실행하세요.\n\n끝입니다."),
]


class Tapped(OpenAIBackend):
    """The ordinary backend, which keeps the events that it brought."""

    def __init__(self, url):
        super().__init__(url)
        self.events = []

    async def stream(self, ask):
        async with aclosing(super().stream(ask)) as deltas:
            async for delta in deltas:
                self.events.append(delta.event)
                yield delta


def without(fields, *names):
    return {key: value for key, value in fields.items() if key not in names}


def frames(events):
    """The events without what the line may change: a text may leave in two, and usage is told once."""
    for event in events:
        if event != "[DONE]" and event["choices"]:
            (choice,) = event["choices"]
            rest = without(choice, "delta", "logprobs", "token_ids")
            yield orjson.dumps([without(event, "choices", "usage"), without(choice["delta"], "content"), rest])


@pytest.mark.parametrize(("policy", "user", "says"), UNTOUCHED)
async def test_an_untouched_answer_passes_as_it_came(vllm, policy, user, says):
    backend = Tapped(vllm.url)
    async with house(backend, policy=roomy(policy)) as home:
        cuts = set()
        for session in range(4 * STREAMS):  # some texts have few ways
            backend.events.clear()
            events = await home.stream(user, headers={"x-kindrail-session": f"s{session}"}, **saying(says))
            assert text_of(events) == says
            # vLLM tells its fingerprint with the usage, for which the house asks: the last event has it all the same
            assert set(frames(events)) == set(
                frames([*backend.events[:-2], {**backend.events[-1], **backend.events[-2]}])
            )
            assert len(events) >= len(backend.events)
            assert [e["choices"][0]["finish_reason"] for e in events[:-1]][-2:] == [None, "stop"]
            assert events[-1] == "[DONE]"
            cuts.add(tuple(text_of([event]) for event in backend.events))
            if session >= STREAMS and len(cuts) > 1:
                break
        assert len(cuts) > 1  # the server did cut it in several ways
        assert (await home.ask(user, **saying(says))).json()["choices"][0]["message"]["content"] == says


async def test_logprobs_pass_with_their_text_and_go_with_it(vllm):
    says = "The fox naps. My number is 212-555-0147. It rains."
    async with house(policy=roomy(), backend_url=vllm.url) as home:
        events = await home.stream("Hello", logprobs=True, **saying(says))
        told = [e["choices"][0].get("logprobs") for e in events[:-1] if e["choices"]]
        spelled = "".join(token["token"] for one in told if one for token in one["content"])
        assert text_of(events) == filled("The fox naps. My number is {PHONE_NUMBER}. It rains.", roomy(), "en")
        assert "The fox nap" in spelled
        assert not set("0123456789") & set(spelled)


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_the_server(vllm, stream):
    async with house(policy=roomy("general"), backend_url=vllm.url) as home:
        ask = home.stream if stream else home.ask
        for _ in tries():
            _, before = counted(vllm)
            asking = asyncio.create_task(ask("Hello", **saying(LONG)))
            await until(lambda before=before: counted(vllm)[1] > before + 50, 10)
            asking.cancel()
            await until(lambda: vllm.metric("vllm:num_requests_running") == 0, 5)
            if counted(vllm)[1] - before < vllm.tokens(LONG):
                break
        await asyncio.gather(*home.services.closing)
        turn = (await home.audit())[-1]
        assert turn.closed["outcome"] == "disconnected"


REFUSED = [
    ({"model": "nobody"}, 404),
    ({"messages": [{"role": "user", "content": "뷁" * 1500}]}, 400),
    ({"frequency_penalty": 9}, 400),
    ({"logit_bias": {"99999": 1}}, 400),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("body", "status"), REFUSED)
async def test_the_servers_refusals_pass_in_its_own_words(vllm, body, status, stream):
    """Also that the context is full: apps cut their history by these words."""
    async with house(policy=roomy("general"), backend_url=vllm.url) as home:
        asked = asking(["Hello"], {"max_tokens": 9, "temperature": 0.1, "stream": stream}) | body
        response = await home.client.post("/v1/chat/completions", json=asked)
        direct = vllm.ask({**asked, "stream": False})  # on a stream vLLM tells some of them with the status 200
        assert response.status_code == direct.status_code == status
        assert response.json()["error"] == {**direct.json()["error"], "code": None}  # vLLM's is the status over again
        assert response.headers["content-type"] == "application/json"
        assert "retry-after" not in response.headers
        (turn,) = await home.audit()
        assert turn.closed["outcome"] == "backend_failed"


async def test_a_full_context_is_told_with_its_length_and_field(vllm):
    async with house(backend_url=vllm.url) as home:
        error = (await home.ask("뷁" * 1500)).json()["error"]
        assert "maximum context length is 4096" in error["message"]
        assert (error["param"], error["code"]) == ("input_tokens", None)


# -- the official client -----------------------------------------------------------------------------------------------


async def test_the_openai_client_reads_every_answer(vllm):
    says = "Hi there! What's your name? Let's play."
    async with house(policy=roomy(), backend_url=vllm.url) as home:
        leaves = f"Hi there! {roomy().line('no_secrets', 'en')} Let's play."
        async with openai.AsyncOpenAI(base_url=f"{home.url}/v1", api_key="none", max_retries=0) as client:
            request = {"model": "buddy", "messages": [{"role": "user", "content": "Hello, let's play"}]}
            whole = await client.chat.completions.create(**request, extra_body=saying(says))
            assert whole.choices[0].message.content == leaves
            assert whole.choices[0].finish_reason == "stop"
            stream = client.chat.completions.stream(
                **request, extra_body=saying(says), stream_options={"include_usage": True},
                extra_headers={"x-kindrail-session": "client"},
            )  # fmt: skip
            async with stream as events:
                pieces = [event.delta async for event in events if event.type == "content.delta"]
                final = await events.get_final_completion()
            assert len(pieces) > 3
            assert "".join(pieces) == final.choices[0].message.content == leaves
            assert final.usage.completion_tokens > 0
            assert [model.id async for model in client.models.list()] == ["buddy"]
            with pytest.raises(openai.NotFoundError, match="does not exist"):
                await client.chat.completions.create(**{**request, "model": "nobody"})


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_an_engine_killed_in_mid_stream_ends_the_stream(doomed_vllm):
    """The last: it has a server of its own, and leaves it broken."""
    async with house(policy=roomy("general"), backend_url=doomed_vllm.url) as home:
        body = asking(["Hello"], {**saying(LONG), "stream": True})
        events, killed = [], False
        async with home.client.stream("POST", "/v1/chat/completions", json=body) as response:
            async for event in events_of(response):
                events.append(event)
                if text_of([event]) and not killed:
                    doomed_vllm.kill_engine()
                    killed = True
        text = text_of([event for event in events[:-2] if "error" not in event])
        assert events[-2]["error"]["message"] == "The model server failed (500)."  # it might quote what it had said
        assert events[-1] == "[DONE]"
        assert text.endswith("and sings.")  # whole sentences: nothing of one that was not checked
        assert LONG.startswith(text)
        assert len(text) < len(LONG)
        (turn,) = await home.audit()
        assert (turn.closed["outcome"], turn.closed["finish"]) == ("backend_failed", None)
        refused = await home.ask("Hello")
        assert refused.status_code == 500
        assert refused.json()["error"]["message"] == "The model server failed (500)."
