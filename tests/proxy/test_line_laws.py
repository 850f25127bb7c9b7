"""The line's laws, on the shipped policies and on texts that a generator or the scripted buddy wrote."""

import asyncio
import re
from dataclasses import replace
from functools import cache

import pytest
from drive import drive
from house import shipped
from hypothesis import given
from hypothesis import strategies as st

from proxy.backends._buddy import reply
from proxy.config import SHIPPED_POLICIES
from proxy.policy.load import load_policy
from proxy.turn import Segment, Turn

POLICIES = ["kids-buddy", "general", "observe"]
WORDS = {
    "en": "the bear sleeps in a cave, Where do you live? What's your name? Let's light a real candle! Stop. I am Dr. "
    "Smith at 3.5 p.m. Call 555-014-2777. Mail tom@mail.com. You win! Yes. Jump from the sofa! 1. 2) Hmm... ok",
    "it": "l'orso dorme, Come ti chiami? Dove abiti? Accendi una candela vera! Basta. Ciao! via Garibaldi 12. sig.ra "
    "Rossi ecc. Chiama 333 123 4567. Scrivi a anna@posta.it. Che bello! Sì. Salta dal divano! Vuoi giocare?",
    "ko": "곰이 자요. 이름이 뭐야? 어디 살아? 촛불을 켜 보자! 그만. 안녕~ 전화는 010-1234-5678이야. 같이 놀자! 음... 그래 "
    "소파에서 뛰어내려! 뭐 할까? 좋아요. tom@mail.com 으로 보내",
}
TEXTS = st.one_of(
    [
        st.lists(
            st.sampled_from([*words.split(), "\n", "  ", "😊", "\u200b", "```", "010-1234-\n5678", "x" * 90]),
            max_size=40,
        ).map(" ".join)
        for words in WORDS.values()
    ]
)


@cache
def scripted_answers():
    asked = [
        "tell me a story",
        "my name?",
        "candle",
        "jump",
        "phone",
        "raccontami una storia",
        "dove abiti",
        "동화",
        "전화",
    ]
    return [reply([{"role": "user", "content": one}] * turns) for one in asked for turns in (1, 3, 5)]


@pytest.mark.parametrize("name", POLICIES)
@given(text=TEXTS, language=st.sampled_from(["en", "it", "ko"]))
def test_property_no_chunking_changes_what_leaves(name, text, language):
    asyncio.run(drive(shipped(name), text, seeds=1, language=language))


@pytest.mark.parametrize("name", POLICIES)
def test_recorded_answers_leave_alike_however_they_are_cut(name):
    for text in scripted_answers():
        asyncio.run(drive(shipped(name), text, seeds=4))


PROSE = {
    "en": ["The bear is here.", "we play", "Yes!", "Come in,", "one", "two"],
    "it": ["L'orso è qui.", "noi giochiamo", "Sì!", "vieni,", "uno"],
    "ko": ["곰이 왔어.", "같이 놀자", "응!", "그리고"],
}
DATA = [
    "call 010-1234-5678 now", "mail tom.baker@mail.com please", "my name is Oliver Baker", "mi chiamo Giulia Rossi",
    "내 이름은 김민준이야", "I live at 12 Oak Street", "abito in via Garibaldi 12", "chiama il 333 123 4567", "my card is 4111 1111 1111 1111",
    "tom chiocciola gmail. com ciao", "gildong 골뱅이 naver. com", "tom@ Gmail.com", "0️⃣1️⃣0️⃣ 9️⃣2️⃣3️⃣4️⃣ 5️⃣6️⃣7️⃣8️⃣ ok", "my ssn 078-05 -1120 ok",
    "call (010 ) 1234 5678 ok", "my teacher is Miss. Baker", "via Garibaldi n. 12 oggi", "call 333 123.\n4567 ok", "i go to Green Hill primary school", "우리 학교는 한빛초등학교야", "see www.tommy-baker.it now",
]  # fmt: skip


SEAMS = st.lists(st.sampled_from([" ", "\n", "  "]), min_size=14, max_size=14)


def joined(parts, seams):
    return "".join(part + seam for part, seam in zip(parts, seams, strict=False))


@cache
def patterns_alone():
    """The children's policy, and its rail for private data without what it has learned."""
    kids = load_policy(SHIPPED_POLICIES / "kids-buddy.yaml")
    pii = next(one for one in kids.rails if one.masks)
    pii.rail._tagger = None
    return kids, pii


@given(
    st.lists(
        st.one_of(
            st.builds(joined, st.sampled_from(DATA).map(str.split), SEAMS),
            *(st.sampled_from(prose) for prose in PROSE.values()),
        ),
        max_size=14,
    ),
    SEAMS,
)
def test_property_no_part_of_a_datum_leaves(parts, seams):
    """What the patterns find in the uncut text never leaves, wherever the segmenter cut and whatever the chunking.

    The learned model is left out: it judges a sentence by itself, and may well see less in two than in one.
    """
    text = joined(parts, seams)
    kids, pii = patterns_alone()
    alone = replace(kids, rails=(pii,), stand_ins={})

    async def check():
        verdict = await pii.rail.check(Segment("assistant", text, Turn("t", "en"), last=True))
        done = await drive(alone, text, seeds=1)
        for span in verdict.spans:
            datum = text[span.start : span.end]
            parts = [datum, *(word for word in datum.split() if len(word) > 3 or re.search(r"\d", word))]
            assert not [part for part in parts if done.text.count(part) > _elsewhere(text, verdict.spans, part)]

    asyncio.run(check())


def _elsewhere(text, spans, word):
    """How often a word stands in the text outside of every span."""
    outside, position = [], 0
    for span in sorted(spans, key=lambda span: span.start):
        outside.append(text[position : span.start])
        position = span.end
    return " \0 ".join([*outside, text[position:]]).count(word)
