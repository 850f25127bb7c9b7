"""Which policy serves a request: the key's, or one that the key lets its apps choose."""

import pytest
from house import shipped

from proxy.access import Caller, Denied
from proxy.live import Live

LIVE = Live.of(shipped("kids-buddy"), shipped("general"))


def test_the_first_is_the_general_one():
    assert (LIVE.general, LIVE.policy.name) == ("kids-buddy", "kids-buddy")
    assert sorted(LIVE.policies) == ["general", "kids-buddy"]
    assert list(Live.of(shipped("general")).policies) == ["general"]


@pytest.mark.parametrize(
    ("caller", "asked", "served"),
    [
        (Caller(), None, "kids-buddy"),
        (Caller(), "", "kids-buddy"),
        (Caller(policy="general"), None, "general"),
        (Caller(), "kids-buddy", "kids-buddy"),
        (Caller(), "kids-buddy@1", "kids-buddy"),
        (Caller(policy="general"), "general", "general"),
        (Caller(policies=("general",)), "general", "general"),
        (Caller(policies=("gen*",)), "general@1", "general"),
        (Caller(policies=("general",)), None, "kids-buddy"),
    ],
)
def test_the_policy_that_serves(caller, asked, served):
    assert LIVE.serving(caller, asked).name == served


@pytest.mark.parametrize(
    ("caller", "asked", "status", "code"),
    [
        (Caller(), "general", 403, "policy_not_allowed"),
        (Caller(policy="general"), "kids-buddy", 403, "policy_not_allowed"),  # nor the one that holds for others
        (Caller(), "Zebra", 403, "policy_not_allowed"),  # whether there is one is not told
        (Caller(), "@1", 403, "policy_not_allowed"),
        (Caller(), "general@1", 403, "policy_not_allowed"),
        (Caller(policies=("*",)), "Zebra", 400, "policy_not_found"),
        (Caller(policy="Zebra"), None, 503, "policy_not_found"),
    ],
)
def test_what_is_denied(caller, asked, status, code):
    with pytest.raises(Denied) as denied:
        LIVE.serving(caller, asked)
    assert (denied.value.status, denied.value.code, denied.value.param) == (status, code, "x-kindrail-policy")
    assert "Zebra" not in denied.value.message
