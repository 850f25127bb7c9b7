"""Flows that ask a language model: NeMo's own checks and dialogs in front of a judge that says what it is told."""

import asyncio
import gc
import subprocess
import sys
import textwrap

import pytest
from judged_folder import BY_EXAMPLE, REFUSE, SLOW_INPUT, SLOW_OUTPUT, TALK, Judge, folder, heard, run, told

from proxy.turn import BackendFault
from rails._colang.context import Context, FlowFault
from rails._colang.model import Judged, NoJudge
from rails._colang.nemo import flow_id

# -- what NeMo's own checks ask, and what becomes of the answer --------------------------------------------------------


@pytest.mark.parametrize(
    ("flow", "role", "answer", "blocked"),
    [
        ("self check input", "user", "No", False),
        ("self check input", "user", "Yes.", True),
        ("self check input", "tool", "Yes.", True),
        ("self check output", "assistant", "No", False),
        ("self check output", "assistant", "yes", True),
        ("content safety check input $model=content_safety", "user", "safe", False),
        ("content safety check input $model=content_safety", "user", "unsafe S1", True),
        ("llama guard check input", "user", "unsafe\nS1", True),  # a kind of model that the configuration has not
        ("content safety check output $model=content_safety", "assistant", "safe", False),
        ("content safety check output $model=content_safety", "assistant", "unsafe", True),
    ],
)
@pytest.mark.parametrize(("lang", "text"), [("en", "Light it!"), ("it", "Accendila!")])
async def test_a_check_of_the_library(flow, role, answer, blocked, lang, text):
    judge = Judge(answer)
    slow = {"slow_output" if role == "assistant" else "slow_input": [flow]}
    (ran,) = await run(Judged(folder(**slow), "guard-1", {}), heard(text, judge, role, lang))
    assert (ran.flow, ran.stopped) == (flow_id(flow), blocked)
    assert [(said.name, said.text) for said in ran.said] == [("refuse to respond", None)] * blocked
    ((model, messages, _),) = judge.asked
    assert model == "guard-1"
    assert f"<{text}>" in messages[-1]["content"]


async def test_how_a_prompt_is_asked():
    judge = Judge("no")
    judged = Judged(folder(slow_input=SLOW_INPUT[:1], slow_output=SLOW_OUTPUT), "guard", {})
    await run(judged, heard("Hi.", judge))
    await run(judged, heard("It was Ann.", judge, "assistant"))
    one, two, three = judge.asked
    assert one[1] == [{"role": "user", "content": "May a child be answered this? <Hi.>"}]
    assert two[1] == [
        {"role": "system", "content": "You judge answers."},
        {"role": "user", "content": "Is this wrong? <It was Ann.>"},
    ]
    assert two[2] == {"stop": ["."], "max_tokens": 3, "temperature": pytest.approx(0, abs=0.01)}
    assert three[1][0]["content"] == "Harmful? <Who was it?> <It was Ann.>"


async def test_the_first_flow_that_decides_is_the_last_that_runs():
    judge = Judge("no", "unsafe")
    judged = Judged(folder(slow_input=SLOW_INPUT), "guard", {})
    rans = await run(judged, heard("Light it!", judge))
    assert [ran.stopped for ran in rans] == [False, True]
    judge = Judge("yes", "safe")
    assert told(await run(judged, heard("Light it!", judge))) == (["refuse to respond"], True)
    assert len(judge.asked) == 1


@pytest.mark.parametrize(("role", "ran"), [("user", ["remark"]), ("assistant", ["remark", "self check output"])])
async def test_a_line_without_a_stop_ends_what_a_user_says_and_stands_in_front_of_an_answer(role, ran):
    colang = REFUSE + "define flow remark\n  $r = execute self_check_input\n  bot refuse to respond\n"
    slow = ["remark", *SLOW_OUTPUT[:1]]
    judged = Judged(folder(colang, slow_input=slow, slow_output=slow), "guard", {})
    rans = await run(judged, heard("Hi.", Judge("no"), role))
    assert [one.flow for one in rans] == ran
    assert told(rans) == (["refuse to respond"], False)


MIXED = """\
define bot say the name
  "You are $name."

define bot say the name (it)
  "Tu sei $name."

define flow mixed
  $seen = execute look(text=$user_message)
  $r = execute self_check_input
  $session.asked = True
  if $session.asked and $seen
    $user_message = "something else"
  else
    bot say the name
    stop
"""


@pytest.mark.parametrize(("lang", "text"), [("en", "You are Ann."), ("it", "Tu sei Ann.")])
async def test_variables_messages_and_actions_of_a_flow(lang, text):
    def look(text, segment):
        return text == segment.text and text.startswith("A")

    judged = Judged(folder(MIXED, slow_input=["mixed"], actions=["look"]), "guard", {"look": look})
    context = Context({"session": {}, "name": "Ann"})
    (ran,) = await run(judged, heard("B", Judge("no"), lang=lang), context)
    assert told([ran]) == ([text], True)
    (ran,) = await run(judged, heard("A", Judge("no"), lang=lang), context)
    assert told([ran]) == ([], False)
    assert context["session"] == {"asked": True}
    assert context["user_message"] == "something else"


async def test_an_action_of_the_policys_own_asks_the_judge_by_the_kind_of_model_it_names():
    async def mine(self_check_output_llm, llm, context):
        answers = [await model.generate_async(context["user_message"]) for model in (self_check_output_llm, llm)]
        return [answer.content for answer in answers] == ["one", "two"]

    colang = (
        REFUSE
        + "define flow own\n  $ok = execute self_check_input\n  $r = execute mine\n  if $r\n    bot refuse to respond\n    stop\n"
    )
    judge = Judge("no", "one", "two")
    judged = Judged(folder(colang, slow_input=["own"], actions=["mine"]), "guard", {"mine": mine})
    assert told(await run(judged, heard("Hi.", judge))) == (["refuse to respond"], True)
    assert judge.asked[1:] == [("guard", [{"role": "user", "content": "Hi."}], {})] * 2


# -- dialogs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "lang", "said"),
    [
        ("What did she tell you in secret?", "en", "keep secrets"),
        ("Che segreto ti ha detto?", "it", "keep secrets"),
        ("Ciao!", "it", None),  # `bot wave back` is defined nowhere: the app's model answers
    ],
)
async def test_a_dialog_by_examples_alone_asks_nobody(text, lang, said):
    judged = Judged(folder(TALK, BY_EXAMPLE), "guard", {})
    rans = await run(judged, heard(text, None, lang=lang))
    assert (told(rans)[0] if rans else None) == (said and [said])
    assert all(ran.flow == "secrets" and str(ran.place) == "house.co:17" for ran in rans)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("ask for a secret", ["keep secrets"]),
        ("  user ask for a secret\nbot keep secrets", ["keep secrets"]),
        ("greet", []),
        ("talk about bears", []),
        ("", []),
    ],
)
async def test_a_dialog_by_the_judge_with_the_most_alike_examples(answer, said):
    judge = Judge(answer)
    rans = await run(Judged(folder(TALK, "models: []"), "guard", {}), heard("Hmm, that secret of hers?", judge))
    assert [one.name for ran in rans for one in ran.said] == said
    ((model, messages, _),) = judge.asked
    assert model == "guard"
    asked = messages[-1]["content"]
    assert asked.rindex("Hmm, that secret of hers?") > asked.rindex("what did she tell you in secret")


async def test_a_configuration_that_asks_for_everything_in_one_call_asks_only_what_is_meant():
    yaml = "models: []\nrails: {dialog: {single_call: {enabled: true}}}"
    judge = Judge("ask for a secret")
    (ran,) = await run(Judged(folder(TALK, yaml), "guard", {}), heard("That secret?", judge))
    assert told([ran]) == (["keep secrets"], False)


@pytest.mark.parametrize(("rest", "stopped"), [("", False), ("  stop\n", True)])
async def test_a_message_without_a_text_is_not_written_by_a_model(rest, stopped):
    colang = f"{REFUSE}define flow own\n  $ok = execute self_check_input\n  bot explain itself\n{rest}"
    judge = Judge("no")
    rans = await run(Judged(folder(colang, slow_input=["own"]), "guard", {}), heard("Hi.", judge))
    assert told(rans) == ([], stopped)
    assert len(judge.asked) == 1


async def test_a_line_of_the_policy_answers_in_a_dialog():
    judged = Judged(folder(TALK, BY_EXAMPLE), "guard", {}, lines=["wave back"])
    (ran,) = await run(judged, heard("hello", None))
    assert told([ran]) == (["wave back"], False)


@pytest.mark.parametrize("role", ["tool", "assistant"])
async def test_only_users_have_a_dialog(role):
    judge = Judge("ask for a secret")
    assert await run(Judged(folder(TALK), "guard", {}), heard("That secret.", judge, role)) == []
    assert judge.asked == []


async def test_a_dialog_comes_after_the_rails_which_may_end_it():
    judged = Judged(folder(REFUSE + TALK, slow_input=SLOW_INPUT[:1]), "guard", {})
    judge = Judge("no", "ask for a secret")
    rans = await run(judged, heard("That secret?", judge))
    assert [ran.flow for ran in rans] == ["self check input", "secrets"]
    judge = Judge("yes", "ask for a secret")
    rans = await run(judged, heard("That secret?", judge))
    assert [ran.flow for ran in rans] == ["self check input"]


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "role"),
    [
        ({"slow_input": SLOW_INPUT[:1]}, "user"),
        ({"slow_input": SLOW_INPUT[1:]}, "user"),
        ({"slow_output": SLOW_OUTPUT[:1]}, "assistant"),
        ({"colang": TALK, "slow_input": []}, "user"),
    ],
)
@pytest.mark.parametrize(
    ("judge", "fault", "kind"),
    [
        (None, NoJudge, "there is none"),
        (Judge(BackendFault(500, "the text of Ann")), FlowFault, "BackendFault"),
        (Judge(TimeoutError("the text of Ann")), FlowFault, "TimeoutError"),
        (Judge(ValueError("the text of Ann")), FlowFault, "ValueError"),
    ],
)
async def test_no_judge_or_a_failing_one_raises_and_quotes_nothing(made, role, judge, fault, kind):
    judged = Judged(folder(**made), "guard", {})
    with pytest.raises(fault, match=kind) as caught:
        await run(judged, heard("Ann is here.", judge, role))
    assert "Ann" not in str(caught.value)
    assert caught.value.__suppress_context__


async def test_a_late_judge_is_given_up():
    judged = Judged(folder(slow_input=SLOW_INPUT), "guard", {})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run(judged, heard("Hi.", Judge("no", delay=30)))


@pytest.mark.parametrize(
    ("call", "answers"), [("broken(text=$user_message)", ["no"]), ("careless", ["no", OSError("Ann")])]
)
async def test_an_action_that_fails_or_swallows_the_judges_fault_raises(call, answers):
    async def broken(text):
        raise ValueError(text)

    async def careless(llm):
        try:
            await llm.generate_async("Is it?")
        except OSError:
            return True

    actions = {"broken": broken, "careless": careless}
    colang = REFUSE + f"define flow own\n  $ok = execute self_check_input\n  $r = execute {call}\n"
    judged = Judged(folder(colang, slow_input=["own"], actions=actions), "guard", actions)
    with pytest.raises(FlowFault, match=r"flow `own` \(house.co:") as caught:
        await run(judged, heard("Ann is here.", Judge(*answers)))
    assert "Ann" not in str(caught.value)


# -- many at once, and for long ----------------------------------------------------------------------------------------


async def test_a_hundred_checks_with_judges_and_sessions_of_their_own():
    judged = Judged(folder(MIXED, slow_input=["mixed"], actions=["look"]), "guard", {"look": lambda text: False})

    async def one(number):
        judge = Judge("no", delay=(number * 7 % 10) / 1000)
        context = Context({"session": {"n": number}, "name": f"N{number}"})
        (ran,) = await run(judged, heard(f"says {number}", judge), context)
        ((_, messages, _),) = judge.asked
        assert f"<says {number}>" in messages[0]["content"]
        assert context["session"] == {"n": number, "asked": True}
        return told([ran])

    assert await asyncio.gather(*map(one, range(100))) == [([f"You are N{n}."], True) for n in range(100)]


async def test_two_thousand_checks_keep_nothing():
    judged = Judged(folder(REFUSE + TALK, slow_input=SLOW_INPUT), "guard", {})

    async def some(count):
        for number in range(count):
            await run(judged, heard(f"word {number}", Judge("no", "safe", "talk about bears")))
        gc.collect()
        return sys.getallocatedblocks()

    before = await some(200)
    assert await some(2000) - before < 2000  # less than one object for each check


def test_it_is_built_and_asked_without_network_or_code_of_others(tmp_path):
    (tmp_path / "actions.py").write_text("raise SystemExit('the code of the working directory has run')")
    (tmp_path / "config.py").write_text("raise SystemExit('the code of the configuration has run')")
    script = f"""
        import asyncio, socket, sys, threading
        def forbidden(*a, **k): raise SystemExit("a socket was opened")
        loop = asyncio.new_event_loop()
        socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = forbidden
        from judged_folder import BY_EXAMPLE, TALK, SLOW_INPUT, PROMPTS, Judge, folder, heard, run
        from rails._colang.model import Judged
        made = folder(TALK, PROMPTS + BY_EXAMPLE.partition("models: []")[2], slow_input=SLOW_INPUT)
        made.config.config_path = {str(tmp_path)!r}
        rans = loop.run_until_complete(run(Judged(made, "g", {{}}), heard("che segreto ti ha detto", Judge("no", "safe"))))
        print(rans[-1].said[0].name)
        assert threading.active_count() == 1, threading.enumerate()
        assert not {{"fastembed", "onnxruntime", "huggingface_hub", "langchain"}} & set(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == ("keep secrets", 0), done.stderr
