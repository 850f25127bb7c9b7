"""The segmenter: where text is cut, and that no chunking changes it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.segments import CALL, LOOK, TORN, Cut, Segmenter


def cuts(chunks, hold="sentence", cap=200):
    segmenter = Segmenter(hold, cap)
    return [cut for chunk in chunks for cut in segmenter.feed(chunk)] + segmenter.finish()


def tr(text, **options):
    """The cuts of a text, after seeing that whole, by character and at random they are the same, and that nothing is
    lost.
    """
    whole = cuts([text], **options)
    assert "".join(cut.text for cut in whole) == text
    assert cuts(list(text), **options) == whole
    for seed in range(5):
        assert cuts(chunked(text, seed), **options) == whole
    return whole


def chunked(text, seed):
    dice = random.Random(seed)
    while text:
        size = dice.randint(1, 9)
        yield text[:size]
        text = text[size:]


# `¦` marks where a cut is expected.
SENTENCES = [
    # English, Italian, Korean
    "Hello! ¦How are you? ¦I am fine.",
    "Ciao! ¦Come stai? ¦Io sto bene.",
    "안녕! ¦오늘 뭐 했어? ¦나는 토끼야. ¦같이 놀자",
    "Really?! ¦Wow!!! ¦Yes…",
    "No mark here",
    # abbreviations, initials, ellipses
    "Dr. Bear and Mrs. Fox met Prof. Owl. ¦They ate.",
    "C'è il Sig. Rossi con la sig.ra Bianchi. ¦Saluta!",
    "Ecco l'Ing. Bianchi. ¦Ciao.",
    "We meet at 5 p.m. ¦Monday is fine. ¦At 5 p.m. we go.",
    "Pane, latte ecc. ¦Poi andiamo.",
    "J. K. Rowling wrote it. ¦I read it.",
    "Hmm... let me think. ¦Hmm… ¦Let me think.",
    "음... 그래, 좋아! ¦해 보자",
    "e.g. this one. ¦And that.",
    # numbers and lists
    "It costs 3.50 euro. ¦Good.",
    "1. Take a leaf.\n¦2. Fold it. ¦Then draw.\n¦3. Done",
    "- one\n¦- two\n\n¦End",
    "I counted to 3. ¦Then I hid.",
    # emoji, quotes, CJK
    "Hi! 😊 ¦How are you? 🎉 🎉 ¦Good",
    '"Who is it?" asked the owl. ¦"Me!" ¦The door opened.',
    '"누구야?" 곰이 물었어. ¦"나야!"',
    "«Ciao!» disse l'orso. ¦(Rise.) ¦Poi dormì.",
    "你好。¦今天好吗？¦我很好！",
    "안녕~ ¦나는 곰이야~ ¦놀자",
    "**Bold!** ¦Plain.",
    # code and tables end with their lines
    "```python\n¦x = 1. \n¦y = 'a. b. c'\n¦```\n¦Done. ¦Ok.",
    "| a. b | c! d |\n¦| e. f | g |\n¦Done.",
    # data are never cut
    "Call 333 123.\n4567 now. ¦Ok.",
    "0 7 7 0 0\n9 0 0 1 2 3. ¦Ok.",
    "Mail tom@mail.com. ¦Then come.",
    "See https://a.it/x. ¦Then come.",
    "SW1A\n1AA is near. ¦Ok.",
    "Tom\n@tommy is me. ¦Ok.",
    "La casa è in via Garibaldi n. 12 oggi. ¦Ok.",
    "La scuola è al nr.\n12 di via Roma. ¦Ok. ¦No, n. ¦A.",
    "tom chiocciola gmail. com ciao. ¦come stai",
    "gildong 골뱅이 naver.\ncom 이야. ¦응",
    "the end. ¦come in. ¦comet. ¦orso",
    "tom@\nGmail.com is me. ¦Ok.",
    "0️⃣1️⃣0️⃣ 9️⃣2️⃣3️⃣4️⃣\n5️⃣6️⃣7️⃣8️⃣ ok. ¦Ok.",
    "078-05\n-1120 ok. ¦Ok.",
    "1234\n\u200b5678 ok. ¦Ok.",
    "(010\n) 1234 5678. ¦Ok.",
    "(010\n)\n1234 5678. ¦Ok.",
    "- 1 + 1 = 2\n¦- 1 + 2 = 3\n¦- ok",
    "Miss. Baker ran. ¦Ok.",
    # nothing stands between two sentences
    "One!¦Two!¦is it red?¦is it blue?!¦좋아!¦Yes",
    "See https://a.it/x?q=1&r=Tom now. ¦a=b?c:d and www.a.it/?Tom ok. ¦Ok",
    "أنت؟ ¦نعم؟",
    # every separator ends a line
    "One\r¦Two\r\n¦Three\u2028¦Four\u2029¦Five\x85¦Six\x0b¦Seven\x0c¦Eight",
    # white space goes with the piece before it
    "  Hi there.  ¦Ok  \n",
    "\n\nHi.\n\n¦Ok",
]


@pytest.mark.parametrize("marked", SENTENCES)
def test_where_sentences_end(marked):
    expected = marked.split("¦")
    assert [cut.text for cut in tr("".join(expected))] == expected


@pytest.mark.parametrize(
    ("text", "endings"),
    [
        ("One. Two", ["sentence", "last"]),
        ("One\nTwo", ["line", "last"]),
        ("", []),
        ("x" * 900, ["torn", "last"]),
        ("long words " * 30, ["piece", "last"]),
    ],
)
def test_why_a_piece_ends(text, endings):
    assert [cut.ending for cut in tr(text)] == endings


def test_a_long_piece_is_cut_at_a_space_and_carries_what_follows():
    first, second = tr("word " * 60)
    assert first.ending == "piece"
    assert len(first.text) == 200
    assert first.after == second.text[:LOOK]


def test_a_run_longer_than_the_cap_is_kept_whole_up_to_four_times_the_cap():
    digits = "12 " * 80
    assert [cut.ending for cut in tr(digits, cap=100)] == ["last"]
    assert [len(cut.text) for cut in tr("12 " * 140, cap=100)] == [TORN * 100, 20]


def test_clause_holds_less_and_message_holds_all():
    text = "When the little bear woke up, the moon was there. Good."
    assert [cut.ending for cut in tr(text, hold="clause")] == ["clause", "sentence", "last"]
    assert tr(text, hold="message") == [Cut(text, "last")]


def test_a_sentence_leaves_with_the_first_character_behind_it():
    segmenter = Segmenter()
    assert segmenter.feed("Hello!") == []
    assert segmenter.feed(" ") == []
    assert segmenter.feed("H") == [Cut("Hello! ", "sentence")]


def test_nothing_is_searched_twice():
    """Twice the text, about twice the work: a long answer in single characters stays linear."""
    segmenter = Segmenter()
    for character in "word " * 20_000:
        segmenter.feed(character)
    assert len(segmenter._text) < 300


# -- tool calls written into the text ----------------------------------------------------------------------------------

BLOCK = '<tool_call>\n{"name": "find", "arguments": {"q": "One. Two! 3\\n"}}\n</tool_call>'
CALLS = [
    (BLOCK, ["call"]),
    (f"I will look.\n{BLOCK}\nDone. Ok", ["line", "call", "sentence", "last"]),
    (f"I will look. {BLOCK} Done.", ["sentence", "call", "last"]),
    (f"I look{BLOCK}{BLOCK}", ["line", "call", "call"]),
    (f"I look {BLOCK}\n\n{BLOCK}\n", ["line", "call", "line", "call", "last"]),
    (f"  {BLOCK}", ["line", "call"]),
    (f"My number is 010 {BLOCK} 1234 5678. Ok", ["line", "call", "sentence", "last"]),
    (f"{'word ' * 50}{BLOCK}", ["line", "call"]),  # over the cap, and the marker comes before the cap must cut
    (f"{'word ' * 52}w{BLOCK}", ["line", "call"]),
    (f"{'word ' * 53}{BLOCK}", ["piece", "line", "call"]),  # ... and here it comes too late
    (f"{'x' * 790}{BLOCK}", ["line", "call"]),
    (f"{'x' * 800}{BLOCK}", ["torn", "call"]),
    (f"{BLOCK}\n```python\nx. Y\n```\nOk", ["call", "line", "line", "line", "last"]),
    # what is no call
    ("a <tool_cal> b. C <tool_call", ["sentence", "last"]),
    ("a < b. C <<tool_call", ["sentence", "last"]),
    ("One </tool_call> two. Three", ["sentence", "last"]),
    # one that never ends
    ('Hm. <tool_call>{"q": "One. Two', ["sentence", "last"]),
    (f"Hm <tool_call><tool_call> One. {BLOCK} Two. Three", ["line", "call", "sentence", "last"]),
]


@pytest.mark.parametrize(("text", "endings"), CALLS)
def test_a_tool_call_is_one_piece(text, endings):
    for hold in ("sentence", "clause"):
        found = tr(text, hold=hold)
        assert [cut.ending for cut in found] == endings
        for cut in found:
            if cut.ending == "call":
                assert cut.text.startswith("<tool_call>")
                assert cut.text.endswith("</tool_call>")


@pytest.mark.parametrize(
    ("text", "endings"),
    [
        (BLOCK, ["call"]),
        (f"One. Two.\n{BLOCK}\nThree. Four {BLOCK} ok", ["line", "call", "line", "call", "last"]),
        ("One. Two. <tool_call>{", ["line", "last"]),
        ("One. Two. <tool_call", ["last"]),
    ],
)
def test_a_message_held_whole_is_cut_around_its_tool_calls_alone(text, endings):
    assert Segmenter("message").feed(text) == []
    assert [cut.ending for cut in tr(text, hold="message")] == endings


@pytest.mark.parametrize("hold", ["sentence", "message"])
def test_a_tool_call_that_is_too_long_is_torn_and_goes_on_as_text(hold):
    fits = f"<tool_call>{'x' * (CALL - 23)}</tool_call>"
    assert [len(cut.text) for cut in tr(f"{fits} Ok", hold=hold)] == [CALL, 3]
    long = cuts([f"<tool_call>{'x' * (CALL - 22)}</tool_call>"], hold)
    assert long == cuts(chunked(f"<tool_call>{'x' * (CALL - 22)}</tool_call>", 1), hold)
    assert [(len(cut.text), cut.ending) for cut in long] == [(CALL, "torn"), (1, "last")]


def test_a_tool_call_leaves_with_its_last_character():
    segmenter = Segmenter()
    assert [segmenter.feed(character) for character in BLOCK[:-1]] == [[]] * (len(BLOCK) - 1)
    assert segmenter.feed(">") == [Cut(BLOCK, "call")]


def test_what_is_held_of_a_tool_call_is_bounded():
    segmenter = Segmenter()
    for _ in range(5 * CALL // 1000):
        segmenter.feed("<tool_call>" + "y" * 989)
        assert len(segmenter._text) < CALL + 1000


ALPHABET = st.sampled_from(
    [
        *list("ab1 2.!?\n\"'@,A가나~…😊。`|-() "),
        "tom@mail.com",
        "333 123 4567",
        "Dr.",
        "n.",
        ". c",
        "om",
        "```",
        "\u200b",
        "<tool_call>",
        "</tool_call>",
        "<tool_",
        "<",
    ]
)


@given(
    st.lists(ALPHABET, max_size=60).map("".join), st.integers(3, 60), st.sampled_from(["sentence", "clause", "message"])
)
def test_property_no_chunking_changes_the_cuts(text, cap, hold):
    tr(text, cap=cap, hold=hold)
