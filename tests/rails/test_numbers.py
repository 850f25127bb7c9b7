"""National numbers, cards and plates: what is one, what only looks like one, and that it costs no time."""

import time
from dataclasses import replace

import pytest

from proxy.config import SHIPPED_POLICIES
from proxy.turn import plain
from rails import _told, pii
from rails._numbers import numbers
from rails._presidio import ENTITIES, Detector

ALL = Detector(list(dict.fromkeys((*ENTITIES, *_told.ENTITIES))), ["US", "GB", "IT", "KR"], (), 0.5)

DATA = [
    ("RSSMRA85T10A562S", "IT_FISCAL_CODE"),
    ("rss mra 85t10 a562s", "IT_FISCAL_CODE"),
    ("RSS MRA 85T10 A562S", "IT_FISCAL_CODE"),
    ("CA12345AA", "IT_IDENTITY_CARD", "carta d'identità {}"),
    ("YA1234567", "IT_PASSPORT", "passaporto {}"),
    ("AB 12 34 56 C", "UK_NINO"),
    ("943 476 5919", "UK_NHS", "NHS {}"),
    ("MORGA657054SM9IJ", "UK_DRIVING_LICENCE"),
    ("219-09-9999", "US_SSN"),
    ("A12345678", "US_PASSPORT", "my passport is {}"),
    ("900101-1234567", "KR_RRN", "주민번호는 {}이야"),
    ("900101-5234567", "KR_FRN"),
    ("M123A4567", "KR_PASSPORT", "여권번호 {}"),
    ("11-12-123456-01", "KR_DRIVER_LICENSE"),
    ("4111 1111 1111 1111", "CREDIT_CARD", "my card is {} ok"),
    ("3782 822463 10005", "CREDIT_CARD"),
    ("IT60 X054 2811 1010 0000 0123 456", "IBAN_CODE", "{} oggi"),
    ("it60 x054 2811 1010 0000 0123 456", "IBAN_CODE", "iban {} oggi"),
    ("gb82west12345698765432", "IBAN_CODE"),
    ("AB123CD", "LICENSE_PLATE", "la macchina {}야"),
    ("ab123cd", "LICENSE_PLATE"),
    ("FX 123 YA", "LICENSE_PLATE"),
    ("AB51 ABC", "LICENSE_PLATE"),
    ("ab51abc", "LICENSE_PLATE"),
    ("12가 3456", "LICENSE_PLATE", "우리 차는 {}이야"),
    ("123나4567", "LICENSE_PLATE"),
]


@pytest.mark.parametrize(("datum", "entity", "text"), [(*one, "{}")[:3] for one in DATA])
def test_data(datum, entity, text):
    text = text.format(datum)
    found = [(text[span.start : span.end], span.entity) for span, _ in ALL.find(plain(text))]
    assert (datum, entity) in found


@pytest.mark.parametrize(
    "text",
    [
        "da 100 al mare", "no10 and", "NO 10 AND 20", "12조 3456억", "10도 2024년", "30조 5000억 원", "10시 30분",
        "COVID19 and", "GT3 RS", "ab12 cde", "A1 B2 C3 D4", "RSS MRA 85T10 A562X", "R2D2 and C3PO", "100가지 1234개",
        "it60 euros and more words after that one", "AI123CD", "AB99 ABC", "gb82west12345698765431",
    ],
)  # fmt: skip
def test_what_only_looks_like_one(text):
    assert list(numbers(text)) == []


@pytest.mark.parametrize(
    ("text", "datum"),
    [
        ("our license plate is 7abc 123", "7abc 123"),
        ("la targa è fx 123 ya", "fx 123 ya"),
        ("차 번호는 12 가 3456이야", "12 가 3456"),
        ("the number plate is dirty and old", ""),
        ("la targa è tutta sporca", ""),
    ],
)
async def test_plates_that_are_announced(house, judge, text, datum):
    rail = pii.Rail("p", pii.RailOptions(), replace(house(), folder=SHIPPED_POLICIES))
    found = (await judge(rail, text, role="user")).spans
    assert [text[span.start : span.end] for span in found] == [datum] * bool(datum)


@pytest.mark.parametrize("piece", ["1 ", "ab1", "AB 1", "it60 ", "aa ", "rss mra 85t", "12가", "it60 x054 2811 "])
def test_a_long_text_takes_no_time(piece):
    begun = time.perf_counter()
    list(numbers(piece * (8000 // len(piece))))
    assert time.perf_counter() - begun < 0.3
