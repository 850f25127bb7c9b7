"""The training sentences: what may be trained on, and that every file can be read."""

import pytest

from training.data import FROZEN, HERE, KINDS, LANGUAGES, PRIVATE, Line, Variety, batches, lines, to_learn, unmarked

KNOWN = lines(HERE / "data")


def line(text, author="a1", kind=0, task="stop", marks=None):
    return Line(task, "en", author, text, "", kind, marks, "")


def test_every_sentence_can_be_read():
    assert {(one.task, one.language) for one in KNOWN} >= {
        (task, lang) for task in (*KINDS, "pii") for lang in LANGUAGES
    }


def test_no_frozen_sentence_and_none_that_sets_the_bars_is_trained_on():
    learned = {one.text for one in to_learn(KNOWN, lines(FROZEN))}
    assert not learned & {one.text for one in lines(FROZEN)}
    assert not learned & {one.text for one in KNOWN if one.author.startswith("v")}
    assert len(learned) > 30_000


def test_what_is_learned():
    known = [line("Stop it!"), line("stop it"), line("go on"), line("bye now", author="v1"), line("Bye, now!")]
    assert [one.text for one in to_learn(known, [line("Go on.")])] == ["stop it"]


def test_nearly_the_same_sentence_is_not_learned_either():
    known = [line("the cow's on the train track"), line("mum has a cow and a track suit"), line("stop that train")]
    assert [one.text for one in to_learn(known, [line("The cow is on the train track.")])] == [
        "mum has a cow and a track suit",
        "stop that train",
    ]


def test_marks():
    text, marks = unmarked("i am [NAME:Tom Rossi] from [ADDRESS:Rome]!", "x:1")
    assert text == "i am Tom Rossi from Rome!"
    assert [(text[start:end], PRIVATE[kind]) for start, end, kind in marks] == [
        ("Tom Rossi", "NAME"),
        ("Rome", "ADDRESS"),
    ]


@pytest.mark.parametrize("row", ["whatever\tgo away", "stop"])
def test_a_bad_row_is_named(tmp_path, row):
    (tmp_path / "stop").mkdir()
    (tmp_path / "stop" / "en.x.tsv").write_text(f"-\tfine\n{row}\n")
    with pytest.raises(ValueError, match=r"en\.x\.tsv:2"):
        lines(tmp_path)


def test_an_unknown_mark_is_named():
    with pytest.raises(ValueError, match="PLANET"):
        unmarked("on [PLANET:Mars]", "x:1")


def test_variety_keeps_marks_where_they_are():
    one = line("My name is Tom Rossi.", task="pii", marks=((11, 20, 1),))
    variety = Variety([one], 1)
    assert {variety.of(one).text for _ in range(30)} == {"My name is Tom Rossi.", "my name is tom rossi."}


def test_an_ending_stays_at_the_end():
    known = [line("i like cake"), line("i go now", kind=1)]
    varied = {Variety(known, seed).of(known[1]).text for seed in range(200)}
    assert any("cake" in text for text in varied)
    assert not any(text.rstrip(".").endswith("cake") for text in varied)


def test_batches_hold_everything_once():
    known = [line("x" * size) for size in range(1, 300)]
    found = [one for batch in batches(known, 16, 1) for one in batch]
    assert sorted(found, key=lambda one: len(one.text)) == known
    assert batches(known, 16, 1) != batches(known, 16, 2)
