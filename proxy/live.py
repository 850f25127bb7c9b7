"""Which policy serves a request: the one of its key, or one that the key's apps may choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.access import Caller, Denied
from proxy.policy.model import Policy


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

        Raises `Denied` where the key does not let its apps choose that one: a milder policy is never had by asking.
        """
        own = caller.policy or self.general
        name = (asked or own).partition("@")[0]
        if name != own and not caller.may_choose(name):
            words = "This key does not let its apps choose that policy: leave x-kindrail-policy out."
            raise Denied(403, words, "policy_not_allowed", "x-kindrail-policy")
        if name not in self.policies:
            words = "There is no such policy in service." if asked else "The policy of this key is not in service."
            raise Denied(400 if asked else 503, words, "policy_not_found", "x-kindrail-policy")
        return self.policies[name]
