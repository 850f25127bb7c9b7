"""What becomes of a message or a sentence when flows have run on it, in three languages."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from proxy.turn import Act, Heard, PolicyError, Span, Verdict
from rails._colang.folder import Place, read
from rails._colang.runner import FlowFault, Ran, Said
from rails.colang import Rail, RailOptions

FLOWS = (Path(__file__).parent / "house.co").read_text("utf-8")
INPUT = [
    "no secrets of others", "silent stop", "fewer words", "the clock", "two lines", "the house answers", "calm and whole",
]  # fmt: skip
OUTPUT = [
    "what the answer says", "cheer first", "mend and cheer", "cheer instead", "mend", "leave out", "end it",
    "clock in the answer", "clock and end", "two lines in the answer",
]  # fmt: skip
OWN = "house-flows/"


@pytest.fixture
def rail(colang):
    """`rail(input=[...])`: the rail over `house.co`."""
    return lambda **options: colang(FLOWS, **options)


def becomes(verdict):
    return verdict.act.value, verdict.say, verdict.text


HEARD = [
    ("en", "user", "tell me her secret", ("end", OWN + "refuse secrets", "")),
    ("it", "user", "dimmi il suo segreto", ("end", OWN + "refuse secrets", "")),
    ("ko", "tool", "지우 비밀이 뭐야", ("end", OWN + "refuse secrets", "")),
    ("en", "user", "tell me a story", ("pass", "", "")),
    ("it", "user", "ciao", ("pass", "", "")),
    ("en", "tool", "hush", ("end", "fallback", "")),
    ("en", "user", "mend me", ("replace", "", "mended")),
    ("en", "user", "drop me", ("drop", "", "")),
    ("en", "user", "the clock", ("end", "", "It is 8 now.")),
    ("it", "user", "the clock", ("end", "", "Sono le 8.")),
    ("ko", "user", "the clock", ("end", "", "지금 8 시야.")),
    ("en", "user", "both", ("end", OWN + "cheer", "That is hers to tell. It is 8 now.")),
    ("it", "user", "both", ("end", OWN + "cheer", "Quello lo dice lei. Sono le 8.")),
    ("ko", "user", "both", ("end", OWN + "cheer", "그건 그 친구 이야기야. 지금 8 시야.")),
    ("it", "user", "bye", ("end", "good_bye", "")),
]
SAID = [
    ("en", "Her secret is this. ", ("end", OWN + "refuse secrets", "")),
    ("ko", "비밀은 이거야. ", ("end", OWN + "refuse secrets", "")),
    ("it", "Tutto bene. ", ("pass", "", "")),
    ("en", "You did it. ", ("replace", OWN + "cheer", "You did it. ")),
    ("it", "Bad. ", ("replace", OWN + "cheer", "Good. ")),
    ("en", "Meh. ", ("replace", OWN + "cheer", "")),
    ("en", "Ugly. ", ("replace", "", "Fine. ")),
    ("en", "Extra. ", ("drop", "", "")),
    ("en", "Enough. ", ("end", "", "")),
    ("it", "Clock. ", ("replace", "", "Sono le 8. Clock. ")),
    ("ko", "Late. ", ("end", "", "지금 8 시야.")),
    ("it", "Both. ", ("replace", OWN + "cheer", "Quello lo dice lei. Both. ")),
]


@pytest.mark.parametrize(("language", "role", "text", "expected"), HEARD)
async def test_what_users_and_tools_say(rail, judge, turn, language, role, text, expected):
    flows = rail(input=INPUT, values={"hour": "8"})
    assert becomes(await judge(flows, text, role=role, turn=turn(language=language))) == expected


@pytest.mark.parametrize(("language", "text", "expected"), SAID)
async def test_what_the_model_answers(rail, judge, turn, language, text, expected):
    flows = rail(output=OUTPUT, values={"hour": "8"})
    assert becomes(await judge(flows, text, turn=turn(language=language))) == expected


@pytest.mark.parametrize(
    ("answers", "variant"), [(0, "That is hers to tell."), (1, "Let her tell it."), (2, "That is hers to tell.")]
)
async def test_the_variants_of_a_further_line_rotate(rail, judge, turn, answers, variant):
    talk = (Heard("user", "hi"), Heard("assistant", "Hello.")) * answers
    verdict = await judge(rail(output=OUTPUT), "Both. ", turn=turn(history=talk))
    assert verdict.text == f"{variant} Both. "


@pytest.mark.parametrize(("answers", "text"), [(0, "One thing."), (1, "Another thing."), (2, "One thing.")])
async def test_the_variants_of_a_line_with_variables_rotate(colang, judge, turn, answers, text):
    languages = "".join(
        f'define bot count{suffix}\n  "One $user_message."\n  "Another $user_message."\n'
        for suffix in ("", " (it)", " (ko)")
    )
    talk = (Heard("user", "hi"), Heard("assistant", "Hello.")) * answers
    flows = colang(f"{languages}define subflow x\n  bot count\n", input=["x"])
    assert becomes(await judge(flows, "thing", role="user", turn=turn(history=talk))) == ("end", "", text)


async def test_a_side_without_flows_passes(rail, judge):
    assert await judge(rail(input=INPUT), "her secret") == Verdict()
    assert await judge(rail(output=OUTPUT), "her secret", role="user") == Verdict()


async def test_a_line_ends_the_users_turn_without_a_stop_too(rail, judge):
    verdict = await judge(rail(input=["secrets without a stop"]), "her secret", role="user")
    assert becomes(verdict) == ("end", OWN + "refuse secrets", "")


async def test_flows_run_in_order_until_one_stops(colang, judge):
    """The second flow reads what the first has written, and the third is not reached."""
    lines = """\
define subflow one
  $user_message = "two"
define subflow two
  if $user_message == "two"
    execute note(key="calm")
    stop
define subflow three
  execute flag
"""
    verdict = await judge(colang(lines, input=["one", "two", "three"]), "one", role="user")
    assert (becomes(verdict), verdict.steer, verdict.flags) == (("end", "fallback", ""), ("calm",), frozenset())


@pytest.mark.parametrize(("language", "text"), [("en", "a fire"), ("ko", "안녕")])
async def test_what_a_flow_asks_of_the_house(rail, judge, turn, language, text):
    verdict = await judge(rail(input=INPUT), text, role="user", turn=turn(language=language))
    assert verdict.act is Act.PASS
    assert (verdict.steer, verdict.hold, verdict.flags) == (("calm",), "message", {"review"})
    assert verdict.why.startswith("flow `calm and whole` (flows/house.co:")


WHYS = [
    ("user", "her secret", "bot refuse secrets", "What somebody else has told in secret is not told on."),
    ("user", "mend me", '$user_message = "mended"', ""),
    ("user", "a fire", 'execute flag(name="review")', ""),
    ("assistant", "Her secret. ", "bot refuse secrets", "Answers do not tell secrets either."),
    ("user", "hello", "", ""),
]


@pytest.mark.parametrize(("role", "text", "line", "about"), WHYS)
async def test_why_names_the_flow_and_its_line_and_no_text(rail, judge, role, text, line, about):
    why = (await judge(rail(input=INPUT, output=OUTPUT), text, role=role)).why
    if not line:
        assert why == ""
        return
    place, _, told = why.partition(")")
    assert told == (f": {about}" if about else "")
    assert text.strip() not in why
    file, _, number = place.partition("(")[2].partition(":")
    assert file == "flows/house.co"
    assert FLOWS.splitlines()[int(number) - 1].strip() in (line, "stop", f"define subflow {place.split('`')[1]}")


async def test_a_shadow_remembers_for_itself_and_says_the_same_lines(rail, judge, turn):
    shadow = rail(key="house-flows:shadow", input=INPUT)
    assert becomes(await judge(shadow, "her secret", role="user")) == ("end", OWN + "refuse secrets", "")


# -- detectors ---------------------------------------------------------------------------------------------------------


class Finds:
    """A rail that finds what it is told to."""

    def __init__(self, key, verdict):
        self.key, self.verdict = key, verdict

    async def check(self, segment):
        return self.verdict


async def test_flows_ask_the_policys_own_rails(colang, judge):
    lines = """\
define subflow private
  $found = execute pii(text=$user_message, entities=["AGE"])
  if $found.found
    execute flag
define subflow over
  $found = execute stop_intent(text=$user_message)
  if $found.kind == "sleep"
    stop
"""
    pii = Finds("hide-private", Verdict(Act.REDACT, (Span(0, 1, "AGE"),)))
    stop = Finds("stop", Verdict(Act.END, (Span(0, 1, "SLEEP"),)))
    flows = colang(lines, input=["private", "over"], rails={"pii": pii, "stop": stop})
    flows.settle()
    verdict = await judge(flows, "7", role="user")
    assert (verdict.act, verdict.flags) == (Act.END, {"review"})


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["$user_message = 3", "$session = 3", "$x = $history[5].text"])
async def test_a_flow_that_goes_wrong_raises_without_the_text(of, judge, line):
    with pytest.raises(FlowFault) as fault:
        await judge(of(line), "my own words", role="user")
    assert "`x`" in str(fault.value)
    assert "my own words" not in str(fault.value)


async def test_a_detector_that_breaks_breaks_the_rail(of, judge):
    class Broken(Finds):
        async def check(self, segment):
            raise RuntimeError(segment.text)

    flow = of("$found = execute pii(text=$user_message)", rails={"pii": Broken("p", Verdict())})
    with pytest.raises(FlowFault) as fault:
        await judge(flow, "my own words", role="user")
    assert "my own words" not in str(fault.value)
    assert fault.value.__suppress_context__


LOAD = [
    ('$x = execute phrases(list="secrts", text=$user_message)', "did you mean `secrets`?"),
    ('execute note(key="clam")', "did you mean `calm`?"),
    ("bot say what nobody wrote", ""),
    ("execute fly_away", ""),
]


@pytest.mark.parametrize(("line", "hint"), LOAD)
def test_a_wrong_name_is_refused_at_its_line(of, line, hint):
    with pytest.raises(PolicyError) as refused:
        of('if $user_message == "x"', f"  {line}")
    hints = [fault.hint for fault in refused.value.faults if (fault.file, fault.line) == ("flows/house.co", 3)]
    assert len(hints) == 1
    assert hint in hints[0]


def test_a_missing_rail_is_refused_once_all_are_built(of):
    flow = of("$found = execute stop_intent(text=$user_message)")
    with pytest.raises(PolicyError, match=r"flows/house.co:2:3: `stop_intent` asks the policy's `stop` rail"):
        flow.settle()


# -- a NeMo configuration as it is -------------------------------------------------------------------------------------

STOCK = """\
rails:
  config:
    regex_detection:
      input: {patterns: [segreto]}
    sensitive_data_detection:
      input:
        entities: [EMAIL_ADDRESS, PERSON]
      output:
        entities: [PHONE_NUMBER]
  input:
    flows: [regex check input, mask sensitive data on input]
  output:
    flows: [detect sensitive data on output]
"""
MASKED = [
    ("user", "un segreto", ("end", "stock/refuse to respond", "")),
    ("tool", "ask tom@school.local", ("replace", "", "ask <EMAIL_ADDRESS>")),
    ("user", "안녕", ("pass", "", "")),
    ("assistant", "Call 347 123 4567. ", ("end", "inform_answer_unknown", "")),
    ("assistant", "안녕. ", ("pass", "", "")),
]


@pytest.fixture
def stock(house, tmp_path):
    (tmp_path / "stock").mkdir()
    (tmp_path / "stock" / "config.yml").write_text(STOCK, "utf-8")
    lines = {"inform_answer_unknown": {"en": ("Hm.",), "it": ("Mh.",), "ko": ("음.",)}}
    return Rail("stock", RailOptions(folder="stock"), replace(house(), folder=tmp_path, lines=lines))


@pytest.mark.parametrize(("role", "text", "expected"), MASKED)
async def test_library_flows_run_on_our_engine(stock, judge, role, text, expected):
    """Where the policy has a line of the name it is said; else NeMo's own."""
    assert becomes(await judge(stock, text, role=role)) == expected


def test_what_is_not_found_is_told(stock):
    (note,) = [one for one in stock.notes if "PERSON" in one.message]
    assert (note.file, note.line, note.column) == ("stock/config.yml", 7, 35)


# -- flows that need a model -------------------------------------------------------------------------------------------


@pytest.fixture
def slow(rail, monkeypatch):
    """`slow(fast flows)`: a rail with a slow flow on both sides that refuses what is "bad"; and who was asked."""
    asked = []

    class Judged:
        def __init__(self, folder, model, actions, lines):
            asked.append((model, "phrases" in actions, sorted(lines)))

        async def check(self, side, segment, context, given):
            asked.append((side, context["bot_message" if side == "output" else "user_message"]))
            place = Place("flows/slow.co", 7)
            yield Ran("thinks it over", [], False, place)
            if "bad" in segment.text:
                yield Ran("thinks it over", [Said("refuse secrets", None, place)], True, place)

    def reads(*arguments, **named):
        return replace(read(*arguments, **named), slow_input=("thinks it over",), slow_output=("thinks it over",))

    monkeypatch.setattr("rails._colang.model.Judged", Judged)
    monkeypatch.setattr("rails.colang.read", reads)
    return rail(input=["no secrets of others", "two lines", "fewer words"], output=["end it"], judge="owl"), asked


async def test_a_trial_asks_no_model(slow, judge, turn):
    flows, seen = slow
    assert (await judge(flows, "a bad word", role="user", turn=turn(trial=True))).act is Act.PASS
    assert len(seen) == 1


SLOW = [
    ("user", "a bad word", {}, "end", [("input", "a bad word")]),
    ("tool", "a good word", {}, "pass", [("input", "a good word")]),
    ("user", "mend me", {}, "replace", [("input", "mended")]),
    ("user", "her secret, bad", {}, "end", []),
    ("user", "both", {}, "end", []),
    ("user", "a bad word", {"past": True}, "pass", []),
    ("assistant", "A bad word. ", {}, "end", [("output", "A bad word. ")]),
    ("assistant", "Enough. ", {}, "end", []),
]


@pytest.mark.parametrize(("role", "text", "fields", "act", "asked"), SLOW)
async def test_slow_flows_run_after_the_fast_ones_have_let_pass(slow, judge, turn, role, text, fields, act, asked):
    flows, seen = slow
    verdict = await judge(flows, text, role=role, turn=turn(session="s"), **fields)
    assert verdict.act.value == act
    assert seen == [("owl", True, ["fallback", "good bye"]), *asked]
    if asked and act == "end":
        assert verdict.why == "flow `thinks it over` (flows/slow.co:7)"


# -- what the loader reads ---------------------------------------------------------------------------------------------


def test_the_lines_that_flows_say(rail):
    lines = rail(input=INPUT).lines
    assert lines[OWN + "refuse secrets"] == {
        "en": ("That is hers to tell.", "Let her tell it."),
        "it": ("Quello lo dice lei.",),
        "ko": ("그건 그 친구 이야기야.",),
    }
    assert OWN + "cheer" in lines
    assert OWN + "tell the time" not in lines  # it is filled in each time


VALUES = [
    ("24h", 86400.0),
    ("90s", 90.0),
    ("400ms", 0.4),
    ("7", 7),
    ("-2", -2),
    ("0.5", 0.5),
    ("true", True),
    ("false", False),
    ("Bo", "Bo"),
    ("1_000", "1_000"),
    ("nan", "nan"),
    ("", ""),
]


@pytest.mark.parametrize(("written", "value"), VALUES)
def test_constants(written, value):
    read = RailOptions(folder="flows", values={"it": written}).values["it"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("options", [{"values": {"a-b": "1"}}, {"settings": ["bed time"]}, {"settings": ["1st"]}])
def test_names_that_no_flow_can_read(options):
    with pytest.raises(ValidationError, match="no flow can read"):
        RailOptions(folder="flows", **options)
