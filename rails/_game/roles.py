"""Pretend play: the role that the child gives the buddy, and sentences in which the buddy drops it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from proxy.turn import Plain
from rails._game.words import read, says

_ARTICLE = re.compile(r"^(?:the |il |lo |la |l')")
_ROLES: Mapping[str, Mapping[str, list[str]]] = read("roles")
_OF: Mapping[str, str] = {
    _ARTICLE.sub("", word): role for role, words in _ROLES.items() for listed in words.values() for word in listed
}


def _any(languages: tuple[str, ...]) -> str:
    words = {_ARTICLE.sub("", word) for entry in _ROLES.values() for one in languages for word in entry[one]}
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_LATIN, _KOREAN = _any(("en", "it")), _any(("ko",))
_GIVES = re.compile(
    r"(?:\b(?:you be|u be|u are|ur|you are|you're|youre|you can be|you could be|you'll be|you will be|can you be|"
    r"could you be|pretend to be|you're gonna be|now be|please be|i want you to be|(?:act|talk|speak) like) "
    r"(?:the |a |an |my )?(?:\w+ ){0,2}?"
    r"|\btu (?:eri|sei|fai|saresti|facevi|sarai|fossi) (?:il |lo |la |l'|un |uno |una |un'|la mia |il mio )?"
    r"|\bche (?:tu )?(?:eri|fossi|sei|fai|facevi|saresti) (?:il |lo |la |l'|un |uno |una |un'|la mia |il mio )?"
    r"|\b(?:fai finta di essere|puoi fare|puoi essere|fai|mi fai|fammi) (?:il |lo |la |l'|un |uno |una |un'))"
    rf"(?P<latin>{_LATIN})\b"
    r"|(?<![가-힣])(?:네가|니가|너가|너는|너도|너|넌|당신이|당신은)\s*(?:[가-힣]+\s)??"
    rf"(?P<korean>{_KOREAN})(?:이|가|을|를|은|는)?\s*(?:역할|역)?(?:을|를|이|로)?\s*"
    r"(?:해|하고|하는|하면|할래|하자|맡|야|이야|라고|인 척|인척|처럼|돼|되)",
    re.IGNORECASE,
)
_FIRST_WORDS = frozenset(word.replace("-", " ").split()[0] for word in _OF)
_ADDRESSED = re.compile(r"너|넌|네가|니가|당신")
_NOT_ONE = re.compile(
    rf"\b(?:i'm not|i am not|non sono) (?:really |davvero )?(?:the |a |an |il |lo |la |l'|un |uno |una |un')"
    rf"(?P<latin>{_LATIN})\b"
    rf"|(?:나는|난|저는|전)\s*(?:진짜 |사실 )?(?P<korean>{_KOREAN})(?:이|가)?\s*아니",
    re.IGNORECASE,
)


def given(text: Plain) -> str:
    """The role that the text gives the buddy, or nothing."""
    if _FIRST_WORDS.isdisjoint(text.words) and not _ADDRESSED.search(text.text):
        return ""
    return _named(_GIVES.search(text.text))


def said(role: str, language: str) -> str:
    """The role as the house says it, with its article."""
    words = _ROLES[role]
    return words.get(language, words["en"])[0]


def dropped(role: str, text: Plain) -> bool:
    """Whether a sentence of the buddy's denies the role, or falls out of every role."""
    return says("out_of_role", text) or _named(_NOT_ONE.search(text.text)) == role


def _named(match: re.Match[str] | None) -> str:
    return _OF[(match["latin"] or match["korean"]).lower()] if match else ""
