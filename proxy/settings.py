"""What an app sets for a request, such as a parent's bedtime: the texts it sends, and the values that rails see."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from proxy.faults import listed, nearest

_SWITCH = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}
_LONGEST = 64  # characters of a setting's value


def value(text: str) -> bool | str:
    """`on`, `true`, `yes` as True, `off`, `false`, `no` as False, anything else as it stands."""
    return _SWITCH.get(text.strip().lower(), text.strip())


def unknown(name: str, known: Collection[str]) -> str:
    """The hint for a setting that the policy does not have."""
    return nearest(name, known) or (f"it has {listed(sorted(known), 'and')}" if known else "it has none")


def values(given: Mapping[str, str], known: Collection[str]) -> Mapping[str, bool | str]:
    """The texts as values. known: the settings that the policy has.

    Raises `ValueError` for an unknown setting and for a value that is too long.
    """
    for name, text in given.items():
        if name not in known:
            raise ValueError(f"the policy has no setting of this name; {unknown(name, known)}")
        if len(text) > _LONGEST:
            raise ValueError(f"the value of `{name}` is longer than {_LONGEST} characters")
    return {name: value(text) for name, text in given.items()}


def read(header: str, known: Collection[str]) -> Mapping[str, bool | str]:
    """`bedtime=on, classroom` as values; a bare name is on. Raises as `values` does."""
    parts = [part.partition("=") for part in header.split(",") if part.strip()]
    return values({name.strip(): text if equals else "on" for name, equals, text in parts}, known)
