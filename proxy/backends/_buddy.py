"""The demo buddy's mind: one function from the messages of a conversation to its answer."""

from __future__ import annotations

import re
from typing import Any

from proxy.backends._buddy_says import LINES
from proxy.turn import guess_language, plain

_LANGUAGES = ("en", "it", "ko")

# What a child says -> what the buddy talks about. The word that comes first in the message decides; of two that begin
# together, the topic that stands first here. Korean words count anywhere, English and Italian ones only whole.
_KEYWORDS: dict[str, dict[str, str]] = {
    "sleep": {
        "en": "good night, goodnight, bedtime, sleep, sleepy, tired",
        "it": "buonanotte, buona notte, dormire, nanna, sonno, stanco, stanca",
        "ko": "잘 자, 잘자, 졸려, 자고 싶, 자러 갈, 잘래, 굿나잇",
    },
    "stop": {
        "en": "stop, enough, no more, bye, goodbye",
        "it": "basta, stop, smettila, fermati, non voglio più, ciao ciao, arrivederci",
        "ko": "그만, 안 할래, 안 놀래, 안녕히, 잘 있어, 바이바이",
    },
    "phone": {
        "en": "phone, call you, number, email, e-mail, mail",
        "it": "telefono, chiamarti, numero, email, e-mail, mail",
        "ko": "전화, 번호, 메일",
    },
    "candle": {
        "en": "candle, candles, fire, match, matches, dark, birthday",
        "it": "candela, candele, candelina, candeline, fuoco, fiammiferi, buio, compleanno",
        "ko": "촛불, 양초, 성냥, 불장난, 깜깜, 생일",
    },
    "jump": {
        "en": "jump, jumping, sofa, couch, fly, superhero, climb",
        "it": "salta, saltare, saltiamo, salto, divano, volare, supereroe, arrampicarmi",
        "ko": "뛰어, 뛸래, 점프, 소파, 날고 싶, 날아, 슈퍼히어로",
    },
    "school": {"en": "school, teacher", "it": "scuola, maestra, maestro, asilo", "ko": "학교, 유치원, 선생님"},
    "home": {
        "en": "home, house, visit, live",
        "it": "casa, casetta, abiti, abito, vivi",
        "ko": "우리 집, 너희 집, 집에, 어디 살",
    },
    "pet": {
        "en": "dog, cat, pet, puppy, kitten",
        "it": "cane, cagnolino, gatto, gattino",
        "ko": "강아지, 고양이, 멍멍이, 야옹이",
    },
    "name": {
        "en": "name, who are you, friend, friends",
        "it": "nome, mi chiamo, ti chiami, chi sei, amico, amica, amici",
        "ko": "이름, 넌 누구, 너 누구, 누구야, 친구",
    },
    "again": {
        "en": "again, once more, repeat",
        "it": "di nuovo, ancora, ripeti, un'altra volta",
        "ko": "다시, 또 해, 또 말해, 한 번 더, 한번 더",
    },
    "story": {
        "en": "story, stories, tale, bear, moon",
        "it": "storia, storie, favola, fiaba, orsetto, orso, luna",
        "ko": "이야기, 동화, 옛날, 곰, 달님",
    },
    "game": {
        "en": "game, games, play, guess",
        "it": "gioco, giochi, giocare, giochiamo",
        "ko": "놀이, 게임, 놀자, 수수께끼",
    },
    "hello": {"en": "hello, hi, hey", "it": "ciao, buongiorno, salve", "ko": "안녕"},
    "good": {
        "en": "thank you, thanks, colour, color, rainbow",
        "it": "grazie, colore, arcobaleno",
        "ko": "고마워, 색깔, 무지개",
    },
}

# Without any such word the buddy goes through these, turn by turn.
_ROTATION = (
    *("hello", "name", "good", "candle", "story", "school", "good"),
    *("jump", "game", "home", "good", "phone", "pet"),
)


def _pattern(words: str, language: str) -> re.Pattern[str]:
    found = "|".join(re.escape(word) for word in words.split(", "))
    return re.compile(found if language == "ko" else rf"(?<!\w)(?:{found})(?!\w)")


_HEARD = {
    topic: {language: _pattern(words, language) for language, words in by_language.items()}
    for topic, by_language in _KEYWORDS.items()
}


def reply(messages: list[dict[str, Any]]) -> str:
    """What the buddy answers to a conversation: always the same to the same messages."""
    said = [plain(text_of(message)).text.lower() for message in messages if message.get("role") == "user"]
    last = said[-1] if said else ""
    turn = max(0, len(said) - 1)
    language = _language(said)
    topic = _topic(last, language) or _ROTATION[turn % len(_ROTATION)]
    if topic == "again":
        answers = [text_of(message) for message in messages if message.get("role") == "assistant"]
        return answers[-1] if answers and answers[-1] else LINES["game"][language][0]
    variants = LINES[topic][language]
    return variants[turn % len(variants)]


def _language(said: list[str]) -> str:
    """The language of the last message that tells: by its function words, else by a word that the buddy listens for."""
    for text in reversed(said):
        guess = guess_language(text, _LANGUAGES, "")
        heard = [language for language in _LANGUAGES if _topic(text, language)]
        if guess or len(heard) == 1:
            return guess or heard[0]
    return "en"


def _topic(text: str, language: str) -> str:
    """The topic of the first word that the buddy listens for, or nothing."""
    hits = [(hit.start(), topic) for topic, heard in _HEARD.items() if (hit := heard[language].search(text))]
    return min(hits, key=lambda hit: hit[0])[1] if hits else ""


def text_of(message: dict[str, Any]) -> str:
    """The text of a message, also of one in parts."""
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
