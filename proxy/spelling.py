"""Letters that only look like others: Cyrillic and Greek look-alikes, and digits or signs in the place of letters.

`st0p`, `b@sta` and a Cyrillic `ѕtор` read like words to a child, and must to a rail. Every character is changed into
one character, so that offsets stay what they are. Numbers and units (`7pm`, `2nd`, `b4`, `mp3`) are left alone.
"""

from __future__ import annotations

import re
import unicodedata

# The letters of Unicode's confusables (UTS 39) that a keyboard in reach can type.
_ALIKE = str.maketrans(
    "аеорсухіјѕһԁԛԝӏвкмнтАВЕКМНОРСТУХІЈЅαορνικτυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijshdqwlbkmhtABEKMHOPCTYXIJSaopviktuxABEZHIKMNOPTYX",
)
_FOREIGN = re.compile(r"[\u0370-\u052f]")
_SIGNS = str.maketrans("013457@$", "oieastas")
_WORD = re.compile(r"(?<![\w@$.])[a-zA-Z013457@$]+(?![\w@$]|\.[a-zA-Z])")  # an address is none
# A sign counts between letters; a digit that begins a word only where another sign stands in it.
_SIGN = re.compile(r"(?<=[a-zA-Z])[013457@$]+(?=[a-zA-Z])|^[@$]+(?=[a-zA-Z]{2})|^[1357](?=[a-zA-Z]+[013457@$][a-zA-Z])")
_TELLING = re.compile(r"[013457@$]")
_UNIT = re.compile(r"\d+(?:st|nd|rd|th|am|pm|km|cm|mm|kg|ml|min|sec|sono|anni|euro)\b", re.IGNORECASE)


def spelt(text: str) -> str:
    """The text with the letters that are meant, character by character."""
    if not text.isascii() and _FOREIGN.search(text):
        text = text.translate(_ALIKE)
    if _TELLING.search(text):
        text = _WORD.sub(_undisguised, text)
    return text


def folded(text: str) -> str:
    """The same in lower case and without accents: how learned models read."""
    meant = spelt(text)
    lower = meant.lower()
    if len(lower) != len(text):  # one of the few letters that become two, such as the Turkish İ
        lower = "".join(letter.lower()[0] for letter in meant)
    return lower if lower.isascii() else "".join(map(_bare, lower))


def _undisguised(found: re.Match[str]) -> str:
    word = found.group()
    if _UNIT.match(word):
        return word
    return _SIGN.sub(lambda sign: sign.group().translate(_SIGNS), word)


def _bare(letter: str) -> str:
    """A letter without its accents; a syllable of Hangul is no letter with accents."""
    if letter < "\u00c0" or letter >= "\u1100":
        return letter
    return unicodedata.normalize("NFD", letter)[0]
