"""The policies in service, and which of them serves a request: its key's, or one that the key's apps may choose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from proxy.access import Caller, Denied
from proxy.config import Config, ConfigFault, KeyEntry
from proxy.faults import listed
from proxy.policy.load import policy_files
from proxy.policy.model import Policy

_HEADER = "x-kindrail-policy"


@dataclass(frozen=True, slots=True)
class Live:
    """The policies in service, by name, and the one that holds where a key names none."""

    policies: Mapping[str, Policy]
    general: str

    @classmethod
    def of(cls, policy: Policy, *more: Policy) -> Live:
        """`policy` for everybody, and `more` for the keys that name them."""
        return cls({one.name: one for one in (policy, *more)}, policy.name)

    @property
    def policy(self) -> Policy:
        """The one that holds where a key names none."""
        return self.policies[self.general]

    def serving(self, caller: Caller, asked: str | None) -> Policy:
        """The policy for a request. `asked`: what its header `x-kindrail-policy` says, a name, perhaps with `@version`.

        Raises `Denied` where the key does not let its apps choose that one (a milder policy is never had by asking),
        and where it, or its version, is not in service.
        """
        own = caller.policy or self.general
        name, at, version = asked.partition("@") if asked else (own, "", "")
        if name != own and not caller.may_choose(name):
            words = f"This key does not let its apps choose that policy: leave {_HEADER} out."
            raise Denied(403, words, "policy_not_allowed", _HEADER)
        policy = self.policies.get(name)
        if policy is None and name == own:
            raise Denied(503, "The policy of this key is not in service.", "policy_not_found")
        if policy is None:
            raise Denied(400, "There is no such policy in service.", "policy_not_found", _HEADER)
        if at and version != str(policy.version):
            words = f"This version is not in service: {policy.label} is."
            raise Denied(400, words, "policy_not_found", _HEADER)
        return policy


@dataclass(frozen=True, slots=True)
class Reload:
    """How the last reload of the policies went. `at`: in Unix seconds. `fault`: the first one, where it was refused."""

    at: float
    result: Literal["accepted", "refused"]
    fault: str = ""


def in_service(config: Config) -> list[Path]:
    """The files of the policies to serve: the general one, then every other that a key may bring with it.

    Raises `ConfigFault` for one that there is not, `OSError` for a folder that has none or cannot be read.
    """
    files = {path.stem: path for path in policy_files(config.policies)}
    wrong = [f"keys[{i}].{fault}" for i, key in enumerate(config.keys) for fault in faults(key, config.policies)]
    if config.policy not in files:
        wrong.insert(0, f"policy: there is no {config.policy!r} in {config.policies}; there are: {', '.join(files)}")
    if wrong:
        raise ConfigFault("\n".join(wrong))
    return [files[name] for name in dict.fromkeys([config.policy, *(name for name in files if _serves(config, name))])]


def untold(config: Config, policies: Iterable[Policy]) -> str:
    """What is wrong where a child in danger is heard and nobody would be told; empty: nothing is."""
    names = [one.name for one in policies if one.tells_of_danger and _serves(config, one.name)]
    if not names or config.safeguarding_webhook:
        return ""
    names_of = listed((f"`{name}`" for name in names), "and")
    return f"safeguarding_webhook is not set: nobody is told of the children in danger that {names_of} would hear"


def unnamed(config: Config, policies: Iterable[Policy]) -> str:
    """What is wrong where the judge of a policy for children could be at an address that the operator has not named.

    A single `backend_url` is one; of several `backends` that is one whose `models` or `rename` have the judge's name to
    the letter. Empty: nothing is wrong.
    """
    if config.backend_url:
        return ""
    named = {name for entry in config.backends for name in (*entry.models, *entry.rename)}
    for policy in policies:
        judges = [getattr(bound.rail, "asks", "") for bound in policy.rails if policy.audience == "child"]
        if missing := next((f"`{judge}`" for judge in judges if judge and judge not in named), ""):
            where = f"`{policy.name}` lets {missing} judge what children say"
            return f"{where}: write that name under `models` of the one of the `backends` where it is"
    return ""


def in_production(config: Config) -> bool:
    """Whether apps are served by API keys; without any it is a demo, or a developer's machine."""
    return bool(config.keys) or config.keys_in_store


def _serves(config: Config, name: str) -> bool:
    globs = [config.policy, *(glob for key in config.keys for glob in (key.policy, *key.policies) if glob)]
    return config.keys_in_store or any(fnmatchcase(name, glob) for glob in globs)


def faults(key: KeyEntry, folder: Path) -> Iterator[str]:
    """Which policies the key names that the folder has not: a line for each, which begins with the setting.

    Raises `FileNotFoundError` for a folder without policies.
    """
    names = [path.stem for path in policy_files(folder)]
    there = f"in {folder}; there are: {', '.join(names)}"
    if key.policy and key.policy not in names:
        yield f"policy: there is no {key.policy!r} {there}"
    for index, glob in enumerate(key.policies):
        if not any(fnmatchcase(name, glob) for name in names):
            yield f"policies[{index}]: {glob!r} matches none {there}"
