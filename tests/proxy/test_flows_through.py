"""Colang flows through the whole house: what the model reads, what leaves, and what a session keeps of it."""

import asyncio

import pytest
from house import assistant, house, text_of
from model import Model

from proxy.policy.load import load_policy

POLICY = """
policy: ruled
version: 1
about: A policy of flows alone.
audience: adult
languages: [en, it, ko]
say:
  sorry: {en: Sorry., it: Scusa., ko: 미안.}
  fallback: {en: Mm., it: Mh., ko: 음.}
  gentle: {en: Gently., it: Piano., ko: 살살.}
steer:
  calm: {en: BE CALM, it: CALMO, ko: 차분히}
phrases:
  rude: {en: [stupid], it: [stupido], ko: [바보]}
rails:
  - {id: flows, rail: colang, why: the house's rules, folder: rules, settings: [bedtime], judge: guard,
     input: [no rude words, clean, calm at night, counting], output: [kind answers, no zebra, short at night]}
"""
RULES = '''
define bot refuse rude words
  "No rude words here."

define bot refuse rude words (it)
  "Niente parolacce qui."

define bot refuse rude words (ko)
  "나쁜 말은 안 돼."

define subflow no rude words
  """Nobody is insulted."""
  $rude = execute phrases(list="rude", text=$user_message)
  if $rude.found
    bot refuse rude words
    stop

define subflow clean
  """A password is never read by the model."""
  if "hunter2" in $user_message
    $user_message = "(a password)"

define subflow calm at night
  """The night is calm, and its answers are judged whole."""
  if $session.bedtime
    execute note(key="calm")
    execute hold_whole()

define subflow counting
  """Three questions are enough."""
  if "?" in $user_message
    if $session.asked
      $session.asked = $session.asked + 1
    else
      $session.asked = 1
  if $session.asked == 3
    $session.asked = 0
    bot gentle
    stop

define subflow kind answers
  """A zebra is kindly renamed."""
  if "zebra" in $bot_message and $role == "assistant"
    $bot_message = "A horse in pyjamas. "

define subflow no zebra
  """No lion ever."""
  if "lion" in $bot_message
    bot gentle
    stop

define subflow short at night
  """At night one line is enough."""
  if $session.bedtime and "party" in $bot_message
    $bot_message = ""
    bot gentle
'''


@pytest.fixture(scope="module")
def ruled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ruled")
    (folder / "rules").mkdir()
    (folder / "rules" / "house.co").write_text(RULES, "utf-8")
    (folder / "ruled.yaml").write_text(POLICY, "utf-8")
    return load_policy(folder / "ruled.yaml")


async def both(home, *messages, headers=None):
    """The answer's text, whole and streamed alike."""
    whole = (await home.ask(*messages, headers=headers)).json()["choices"][0]["message"]["content"]
    assert text_of(await home.stream(*messages, headers=headers)) == whole
    return whole


@pytest.mark.parametrize(
    ("says", "leaves"),
    [
        ("One bear. Two bears.", "One bear. Two bears."),
        ("One bear. A zebra came. Two bears.", "One bear. A horse in pyjamas. Two bears."),
        ("One bear. A lion came. Two bears.", "One bear. Gently."),
        ("A lion came.", "Gently."),
    ],
)
async def test_flows_change_an_answer_in_mid_stream(ruled, says, leaves):
    async with house(Model(says), ruled) as home:
        assert await both(home, "Tell me more") == leaves


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("you are stupid", "No rude words here."),
        ("sei proprio stupido, non mi piaci", "Niente parolacce qui."),
        ("너 바보야", "나쁜 말은 안 돼."),
    ],
)
async def test_a_refusal_comes_in_the_users_language(ruled, said, answer):
    model = Model("Hello.")
    async with house(model, ruled) as home:
        assert await both(home, said) == answer
        assert model.asked == []
        (turn, *_) = await home.audit()
        (verdict,) = turn.closed["verdicts"]
        assert verdict["rail"] == "flows"
        assert "flow `no rude words` (rules/house.co:" in verdict["why"]
        assert "stupid" not in str(turn.closed)


async def test_the_model_reads_what_a_flow_wrote_now_and_later(ruled):
    model = Model("I see.")
    talk = ["it is hunter2", assistant("I see."), "good"]
    async with house(model, ruled) as home:
        await home.ask(talk[0])
        await home.ask(*talk)
        await home.ask(*talk, headers={"x-kindrail-session": "elsewhere"})
    assert [[one["content"] for one in body["messages"]] for body in model.asked] == [
        ["(a password)"],
        ["(a password)", "I see.", "good"],
        ["(a password)", "I see.", "good"],
    ]


@pytest.mark.parametrize("named", [True, False])
async def test_session_variables_last(ruled, named):
    async with house(Model("Yes."), ruled) as home:
        talk, answers = [], []
        for question in ("one?", "two?", "three?", "four?"):
            talk.append(question)
            headers = {"x-kindrail-session": "s"} if named else None
            response = await home.ask(*talk, headers=headers)
            answers.append(response.json()["choices"][0]["message"]["content"])
            talk.append(assistant(answers[-1]))
    assert answers == ["Yes.", "Yes.", "Gently.", "Yes."]


async def test_two_sessions_never_share_a_variable(ruled):
    """Equal texts in many sessions at once: each has its own third question."""
    async with house(Model("Yes."), ruled) as home:

        async def talk(name):
            answers = []
            for _ in range(3):
                response = await home.ask("why?", headers={"x-kindrail-session": name})
                answers.append(response.json()["choices"][0]["message"]["content"])
            return answers

        for answers in await asyncio.gather(*(talk(f"s{number}") for number in range(40))):
            assert answers == ["Yes.", "Yes.", "Gently."]


@pytest.mark.parametrize(
    ("header", "answer", "noted"),
    [
        (None, "One bear. A party! Two bears.", False),
        ("bedtime=on", "Gently.", True),  # it was judged as a whole
        ("bedtime", "Gently.", True),
        ("bedtime=off", "One bear. A party! Two bears.", False),
    ],
)
async def test_a_parents_setting_comes_with_the_request(ruled, header, answer, noted):
    model = Model("One bear. A party! Two bears.")
    headers = {"x-kindrail-set": header, "x-kindrail-session": "s"} if header else {"x-kindrail-session": "s"}
    async with house(model, ruled) as home:
        assert (await home.ask("go on", headers=headers)).json()["choices"][0]["message"]["content"] == answer
        assert ("BE CALM" in str(model.asked)) is noted
        await home.ask("go on", headers={"x-kindrail-session": "s"})
        assert "BE CALM" not in str(model.asked[1:])  # a setting holds for its request, and is not remembered


async def test_settings_in_two_headers_are_one_list(ruled):
    async with house(Model("A party!"), ruled) as home:
        headers = [
            ("content-type", "application/json"),
            ("x-kindrail-set", "bedtime=off"),
            ("x-kindrail-set", "bedtime"),
        ]
        body = b'{"model": "m", "messages": [{"role": "user", "content": "go on"}]}'
        response = await home.client.post("/v1/chat/completions", content=body, headers=headers)
    assert response.json()["choices"][0]["message"]["content"] == "Gently."


@pytest.mark.parametrize(
    ("header", "told"),
    [("bedtme=on", "did you mean `bedtime`?"), ("zzz=1", "it has bedtime"), ("bedtime=" + "x" * 65, "64")],
)
async def test_a_setting_that_is_none_is_refused(ruled, header, told):
    async with house(Model("Yes."), ruled) as home:
        response = await home.ask("go on", headers={"x-kindrail-set": header})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "x-kindrail-set")
    assert told in error["message"]


@pytest.mark.parametrize(("header", "leaves"), [(None, "One bear. Gently."), ("bedtime=on", "Gently.")])
async def test_the_answer_is_held_whole_where_a_flow_asks_for_it(ruled, header, leaves):
    async with house(Model("One bear. A lion came. Two bears."), ruled) as home:
        assert await both(home, "go on", headers={"x-kindrail-set": header} if header else None) == leaves


async def test_json_and_tool_results_pass_the_flows_too(ruled):
    model = Model('{"a": "A zebra came."}')
    async with house(model, ruled) as home:
        response = await home.ask("go on", response_format={"type": "json_object"})
        assert response.json()["choices"][0]["message"]["content"] == '{"a": "A horse in pyjamas. "}'
        call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        talk = ["look", {"role": "assistant", "content": None, "tool_calls": [call]}]
        await home.ask(*talk, {"role": "tool", "tool_call_id": "c", "content": "hunter2"})
    assert model.asked[-1]["messages"][-1]["content"] == "(a password)"
