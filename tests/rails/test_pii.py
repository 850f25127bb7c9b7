"""pii finds what children tell of themselves, lets stories pass, and loses nothing at a seam."""

import random
import socket
import time
import unicodedata
from pathlib import Path

import pytest
import regex
from pydantic import ValidationError

from proxy.segments import Segmenter
from proxy.turn import Act, House, Plain, Segment, Turn
from rails import _presidio, _told
from rails._presidio import SlowPattern
from rails.pii import Rail, RailOptions

POLICIES = Path(__file__).parents[2] / "policies"
LANGUAGES = ("en", "it", "ko")
TURN = Turn("t", "en")


def rail_with(folder: Path = POLICIES, **options) -> Rail:
    return Rail("hide-private", RailOptions(**options), House(LANGUAGES, {}, folder))


@pytest.fixture(scope="module")
def rail() -> Rail:
    return rail_with()


async def covered(rail: Rail, text: str, **segment) -> list[str]:
    verdict = await rail.check(Segment("user", text, TURN, **segment))
    return [text[span.start : span.end] for span in verdict.spans]


FOUND = [
    # names
    ("My name is Tommy.", ["Tommy"]),
    ("my name is tommy baker and i like bears", ["tommy baker"]),
    ("my names emma what is yours", ["emma"]),
    ("hi im emma", ["emma"]),
    ("I'm called Zoe!", ["Zoe"]),
    ("my teacher is mrs smith", ["mrs smith"]),
    ("my sister is called Anna", ["Anna"]),
    ("mi chiamo giulia rossi e tu", ["giulia rossi"]),
    ("il mio nome e anna", ["anna"]),
    ("ciao sono Marco", ["Marco"]),
    ("내 이름은 김민수야", ["김민수"]),
    ("제 이름은 지우예요", ["지우"]),
    ("내 이름은 민준이라고 해", ["민준"]),
    ("저는 김민수예요", ["김민수"]),
    ("나는 서연이야", ["서연"]),
    # addresses
    ("i live at 12 oak street", ["12 oak street"]),
    ("we live in Milan, Italy and it is hot", ["Milan, Italy"]),
    ("Come to 221B Baker Street!", ["221B Baker Street"]),
    ("abito in via garibaldi 12", ["via garibaldi 12"]),
    ("Ci vediamo in Piazza del Duomo 3.", ["Piazza del Duomo 3"]),
    ("서울시 강남구 역삼동에 살아", ["서울시 강남구 역삼동"]),
    ("우리 집은 푸른아파트 101동 202호야", ["푸른아파트 101동 202호"]),
    ("저는 부산에 살아요", ["부산"]),
    ("나는부산에 살아", ["부산"]),
    ("나 해운대에 살아", ["해운대"]),
    # school, class, age, birthday
    ("i go to st mary's primary school", ["st mary's primary school"]),
    ("Our bus passes Oakwood Primary School.", ["Oakwood Primary School"]),
    ("vado alla scuola elementare giuseppe verdi con papà", ["giuseppe verdi"]),
    ("한빛초등학교에 다녀요", ["한빛초등학교"]),
    ("I'm in class 2b", ["class 2b"]),
    ("my class is 2b", ["2b"]),
    ("저는 3학년 2반이에요", ["3학년 2반"]),
    ("i am 7", ["7"]),
    ("i'm seven years old", ["seven"]),
    ("ho 7 anni e mezzo", ["7"]),
    ("나는 일곱 살이야", ["일곱 살"]),
    ("저는 7살이에요", ["7살"]),
    ("일곱살이야", ["일곱살"]),
    ("my birthday is on 3 may 2018", ["3 may 2018"]),
    ("sono nato il 3 maggio", ["3 maggio"]),
    ("내 생일은 5월 3일이야", ["5월 3일"]),
    # numbers
    ("call 07700 900123 now", ["07700 900123"]),
    ("il mio numero è 347 123 4567", ["347 123 4567"]),
    ("내 번호는 010-1234-5678이야", ["010-1234-5678"]),
    ("it is 0 7 7 0 0 9 0 0 1 2 3 ok", ["0 7 7 0 0 9 0 0 1 2 3"]),
    ("zero seven seven zero zero nine one two three", ["zero seven seven zero zero nine one two three"]),
    ("tre quattro sette uno due tre quattro", ["tre quattro sette uno due tre quattro"]),
    ("공일공 일이삼사 오육칠팔", ["공일공 일이삼사 오육칠팔"]),
    ("card 4111 1111 1111 1111", ["4111 1111 1111 1111"]),
    ("iban GB82 WEST 1234 5698 7654 32", ["GB82 WEST 1234 5698 7654 32"]),
    ("RSSMRA85T10A562S", ["RSSMRA85T10A562S"]),
    ("my postcode is SW1A 1AA", ["SW1A 1AA"]),
    ("여권 번호는 M12345678", ["M12345678"]),
    # numbers with a Korean ending
    ("카드 번호는 4111 1111 1111 1111이야", ["4111 1111 1111 1111"]),
    ("카드는4111111111111111이에요", ["4111111111111111"]),
    ("4111-1111-1111-1111ㅋㅋ", ["4111-1111-1111-1111"]),
    ("번호는01012345678이에요", ["01012345678"]),
    ("02-312-3456으로 전화해", ["02-312-3456"]),
    ("110-234-567890이야", ["110-234-567890"]),
    ("3333-01-1234567로 보내", ["3333-01-1234567"]),
    ("900101-1234568이야", ["900101-1234568"]),
    ("AB123456C야", ["AB123456C"]),
    ("여권번호M12345678입니다", ["M12345678"]),
    ("GB82 WEST 1234 5698 7654 32이야", ["GB82 WEST 1234 5698 7654 32"]),
    ("192.168.0.1이야", ["192.168.0.1"]),
    # addresses on the net
    ("write to tom@school.local please", ["tom@school.local"]),
    ("내 메일은tom@example.com이에요", ["tom@example.com"]),
    ("see www.example.com/me.", ["www.example.com/me"]),
    ("www.example.com에서 봤어", ["www.example.com"]),
    ("https://example.com/a?b=1에서 봤어", ["https://example.com/a?b=1"]),
    ("example.com에 가", ["example.com"]),
    ("tom at gmail dot com", ["tom at gmail dot com"]),
    ("tommaso chiocciola gmail punto com", ["tommaso chiocciola gmail punto com"]),
    ("톰 골뱅이 지메일 점 컴", ["톰 골뱅이 지메일 점 컴"]),
    ("my password is fluffy123!", ["fluffy123"]),
    # hidden from a plain look
    ("call ０７７００ ９００１２３", ["０７７００ ９００１２３"]),
    ("my name is To\u200bmmy", ["To\u200bmmy"]),
    (unicodedata.normalize("NFD", "내 이름은 김민수야"), [unicodedata.normalize("NFD", "김민수")]),
]


@pytest.mark.parametrize(("text", "data"), FOUND)
async def test_finds(rail, text, data):
    assert await covered(rail, text) == data


PASSES = [
    "The bear's name is Bruno.",
    "a dragon called Fluffy lives in a cave",
    "I am tired. I am happy, I am ready and I'm hungry!",
    "i am a pirate and you are a captain",
    "my name is not important. what is my name?",
    "my name is on the list",
    "call me later",
    "I am 10 points ahead and 100% sure, I am 2 minutes away",
    "the dragon is 300 years old",
    "the bear lives in a cave and i live in a big house with my dog",
    "3 ducks cross the road and there are 2 ways to go",
    "i go to primary school by bus",
    "one two three four five six seven",
    "1, 2, 3, 4, 5, 6, 7!",
    "1 2 3 4 5 6 7 8 9 10 11 12",
    "10 9 8 7 6 5 4 3 2 1 go",
    "two four six eight, one two three one two three one two three",
    "It costs 12 euros, or 1.000.000.000 won. Pi is 3.14159265358979",
    "on 2026-11-21 at 10:30:06.771610",
    "I love pizza.it is good, Spider-Man.me too",
    "in 1492 and 1969 people sailed to new worlds",
    "mi chiamo fuori. Come mi chiamo?",
    "sono stanco e sono bella",
    "abito in una casa grande",
    "è andato via con 3 amici, corso di nuoto 3 volte",
    "vado alla scuola di danza, ho 3 mele e ho due gatti",
    "il drago ha 300 anni",
    "uno due tre quattro cinque sei sette otto nove dieci",
    "Roma è la capitale d'Italia",
    "나는 토끼야. 나는 강아지야. 저는 공주예요. 나는 최고야",
    "내 이름은 뭐야? 내 이름은 비밀이야",
    "용은 300살이야. 토끼는 세 살이야. 몇 살이야?",
    "곰은 동굴에 살아. 다시 친구가 됐어",
    "나는 숲에 살아. 나도 숲에 살아. 나는숲에 살아",
    "나는 멋진 곳에 살아. 난쟁이는 나무에 살아. 저기에 살아",
    "1.000.000.000원이야. 3.14159265358979야. 2026-11-21에 만나. 1 2 3 4 5 6 7 8 9 10이야",
    "우리 유치원에서 놀았어. 나는 초등학교에 다녀",
    "하나 둘 셋 넷 다섯 여섯 일곱 여덟 아홉 열",
    "일 이 삼 사 오 육 칠 팔 구 십",
]


@pytest.mark.parametrize("text", PASSES)
async def test_lets_pass(rail, text):
    assert await covered(rail, text) == []


PROSE = {
    "Once there was a bear. My name is Tommy Baker and he liked honey. He slept": "Tommy Baker",
    "we sang a song i live at 12 oak street, springfield and then we danced": "12 oak street, springfield",
    "You can call 0 7 7 0 0 9 0 0 1 2 3 and ask for the bear": "0 7 7 0 0 9 0 0 1 2 3",
    "say zero seven seven zero zero nine one two three to me": "zero seven seven zero zero nine one two three",
    "the card is 4111 1111 1111 1111 and the sun shines": "4111 1111 1111 1111",
    "write to tom dot baker at gmail dot com and wait": "tom dot baker at gmail dot com",
    "poi disse abito in via giuseppe garibaldi 12 e tu": "via giuseppe garibaldi 12",
    "vado alla scuola elementare giuseppe verdi con papà": "giuseppe verdi",
    "그리고 서울시 강남구 역삼동 12-3에 살아 그래서 좋아": "서울시 강남구 역삼동 12-3",
    "전화는 공일공 일이삼사 오육칠팔 이야 그래": "공일공 일이삼사 오육칠팔",
    "안녕 나는 올해 일곱 살이야 같이 놀자": "일곱 살",
    "hello there i am seven years old and i like bears": "seven",
    "my passport number is AB1234567 and we fly": "AB1234567",
}


@pytest.mark.parametrize(("text", "datum"), PROSE.items())
async def test_no_seam_uncovers_a_datum(rail, text, datum):
    start = text.index(datum)
    assert any(datum in found for found in await covered(rail, text))
    for seam in [place + 1 for place, character in enumerate(text) if character == " "]:
        head, tail = text[:seam], text[seam:]
        first = await rail.check(Segment("assistant", head, TURN, after=tail[:64], ending="piece"))
        second = await rail.check(Segment("assistant", tail, TURN, before=head, last=True))
        hidden = {i for span in first.spans for i in range(span.start, span.end)}
        hidden |= {i + seam for span in second.spans for i in range(span.start, span.end)}
        open_ = [i for i in range(start, start + len(datum)) if i not in hidden and not text[i].isspace()]
        assert not open_, f"seam at {seam}"


@pytest.mark.parametrize("cap", [40, 120, 200])
async def test_no_cut_of_the_segmenter_uncovers_a_datum(rail, cap):
    chance = random.Random(cap)
    texts = [text for text, _ in FOUND] + PASSES
    for _ in range(60):
        text = chance.choice([" ", ". ", "\n", "! "]).join(chance.sample(texts, 6))
        whole = await rail.check(Segment("user", text, TURN, last=True))
        segmenter, before, hidden = Segmenter("sentence", cap), "", set()
        for cut in [*segmenter.feed(text), *segmenter.finish()]:
            segment = Segment("assistant", cut.text, TURN, before=before, after=cut.after, ending=cut.ending)
            hidden |= {i + len(before) for s in (await rail.check(segment)).spans for i in range(s.start, s.end)}
            before += cut.text
        datum = {i for span in whole.spans for i in range(span.start, span.end) if text[i].isalnum()}
        assert not datum - hidden, text


async def test_a_torn_run_is_covered_to_its_end(rail):
    run = "7a" * 400
    first = await rail.check(Segment("assistant", "so " + run, TURN, ending="torn"))
    second = await rail.check(Segment("assistant", "99 is my code", TURN, before="so " + run))
    assert [(s.start, s.end, s.entity) for s in first.spans] == [(3, 803, "UNFINISHED")]
    assert [(s.start, s.end, s.entity) for s in second.spans] == [(0, 2, "UNFINISHED")]


async def test_a_long_word_without_digits_is_no_datum(rail):
    first = await rail.check(Segment("assistant", "ha" * 400, TURN, ending="torn"))
    second = await rail.check(Segment("assistant", "ha and 7 bears", TURN, before="ha" * 400))
    assert first.spans == second.spans == ()


async def test_overlapping_finds_are_one_span(rail):
    verdict = await rail.check(Segment("user", "my name is tom@example.com", TURN))
    assert [(s.start, s.end) for s in verdict.spans] == [(11, 26)]
    assert verdict.spans[0].entity == "EMAIL_ADDRESS"


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("333 123 4567", "PHONE_NUMBER"),  # has the checksum of a UK_NHS number
        ("378282246310005이야", "CREDIT_CARD"),
        ("900101-1234568이야", "KR_RRN"),
        ("110-234-567890이야", "PHONE_NUMBER"),
    ],
)
async def test_a_number_of_many_kinds_is_named_after_the_likeliest(rail, text, entity):
    verdict = await rail.check(Segment("user", text, TURN))
    assert [span.entity for span in verdict.spans] == [entity]


async def test_why_names_the_kinds_and_never_the_text(rail):
    verdict = await rail.check(Segment("user", "my name is Tommy, call 07700 900123", TURN))
    assert verdict.act is Act.REDACT
    assert verdict.why == "Personal data: PERSON, PHONE_NUMBER."


async def test_a_side_that_is_off_still_says_what_to_mask_in_the_store():
    rail = rail_with(user=False)
    for role, act in (("user", Act.PASS), ("tool", Act.PASS), ("assistant", Act.REDACT)):
        verdict = await rail.check(Segment(role, "my name is Tommy", TURN))
        assert (verdict.act, len(verdict.spans)) == (act, 1)


async def test_options_narrow_what_is_found():
    text = "my name is Buddy, his is on 07700 900123 or 555-0199"
    assert await covered(rail_with(allow=["buddy"]), text) == ["07700 900123"]
    assert await covered(rail_with(entities=["PERSON"]), text) == ["Buddy"]
    assert await covered(rail_with(recognizers="", entities=["PERSON", "URL"]), text) == []
    assert await covered(rail_with(at_least=0.9), text) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"entities": ["PERSN"]}, "did you mean PERSON"),
        ({"entities": ["WXYZ"]}, "there are: EMAIL_ADDRESS"),
        ({"regions": ["EN"]}, "EN is no region"),
        ({"at_least": 2}, "less than or equal to 1"),
    ],
)
def test_bad_options_are_refused_with_a_remedy(options, message):
    with pytest.raises(ValidationError, match=message):
        RailOptions(**options)


ENTRY = "{entity: PERSON, language: en, phrases: [my name is], value: name}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "recognizers: [{entity: PERSN, language: en, phrases: [a], value: name}]",
            r"1 \(PERSN, en\).*use one of PERSON",
        ),
        (f"recognizers: [{ENTRY}, {{entity: AGE, language: fr, value: age}}]", r"2 \(AGE, fr\): `language`.*'en'"),
        ("recognizers: [{entity: AGE, language: en}]", "give either `value`"),
        ("recognizers: [{entity: AGE, language: en, value: age}]", "give `phrases`"),
        ("recognizers: [{entity: AGE, language: en, phrases: [a], value: years}]", "`value`.*'age'"),
        ("recognizers: [{entity: AGE, language: en, phrase: [a], value: age}]", "`phrase`"),
        ("recognizers: [{entity: AGE, language: en, pattern: '('}]", "no regular expression"),
        ("recognizers: [{entity: AGE, language: en, pattern: '(?:\\S+\\s?)+[?;]'}]", "too slow.*bound"),
        ("recognizers: [{entity: AGE, language: en, score: high, phrases: [a], value: age}]", "`score`"),
        ("recognizers: [", "is not YAML"),
        ("recognisers: []", "`recognizers`"),
    ],
)
def test_bad_entries_are_refused_with_file_entry_and_remedy(tmp_path, content, message):
    (tmp_path / "recognizers.yaml").write_text(content)
    with pytest.raises(ValueError, match=rf"recognizers\.yaml.*{message}"):
        rail_with(tmp_path)


def test_a_missing_list_is_refused(tmp_path):
    with pytest.raises(ValueError, match="relative to the policy's folder"):
        rail_with(tmp_path)


async def test_words_of_yaml_stay_words(tmp_path):
    (tmp_path / "recognizers.yaml").write_text(f"never: {{en: [no, on, yes]}}\nrecognizers: [{ENTRY}]")
    assert await covered(rail_with(tmp_path), "my name is no. my name is on it. my name is Yo") == ["Yo"]


async def test_only_the_policys_languages_are_searched():
    rail = Rail("p", RailOptions(), House(("en",), {}, POLICIES))
    assert await covered(rail, "mi chiamo Giulia, my name is Julia") == ["Julia"]


async def test_no_socket_is_opened(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    rail = rail_with()
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert await covered(rail, "tom@example.co.uk or www.example.com") == ["tom@example.co.uk", "www.example.com"]


async def test_a_pattern_out_of_time_is_an_error_and_no_pass(monkeypatch):
    rail = rail_with(recognizers="")
    monkeypatch.setattr(_presidio, "TIMEOUT", 1e-6)
    with pytest.raises(SlowPattern) as error:
        await rail.check(Segment("user", "192:" * 4000, TURN))
    assert "192" not in str(error.value)
    assert error.value.__cause__ is None


async def test_a_slow_recognizer_of_ours_is_an_error_too(monkeypatch):
    slow = regex.compile(r"(?P<value>(?:\S+\s?)+[?;])")
    entry = _told.Entry(entity="PERSON", language="en", pattern="x")
    detector = _presidio.Detector(["PERSON"], ["US"], [_told.Recognizer(entry, slow)], 0.5)
    with pytest.raises(SlowPattern):
        detector.find(Plain("1" + "a" * 8000))


@pytest.mark.parametrize(
    "text",
    [
        "a." * 4000,
        "1 " * 4000,
        "a-" * 4000,
        "my name is " * 800,
        "a." * 4000 + "@",
        "1." * 4000,
        "나는 " * 2600,
        "1:" * 4000,
    ],
)
async def test_the_cost_grows_with_the_length_alone(rail, text):
    began = time.process_time()
    await rail.check(Segment("user", text, TURN))
    assert time.process_time() - began < 1.0  # 0.01 to 0.2 s here; a quadratic pattern takes tens of seconds


async def test_the_phone_library_sees_no_number_too_short_for_it(rail, monkeypatch):
    seen = []
    monkeypatch.setattr(_presidio.PhoneRecognizer, "analyze", lambda self, text, entities: seen.append(text) or [])
    await rail.check(Segment("user", "at 12:30 or 1a2b 34+56, 555-0199: ok", TURN))
    assert seen == ["at xx:xx or xaxb xx+56, 555-0199: ok"]
