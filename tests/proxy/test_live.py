"""Which policies are in service, and which of them serves a request: the key's, or one that it lets its apps choose."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from house import shipped

from proxy.access import Caller, Denied
from proxy.config import SHIPPED_POLICIES, BackendEntry, Config, ConfigFault, KeyEntry
from proxy.keyring import hashed
from proxy.live import Live, faults, in_production, in_service, unnamed, untold

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
        (Caller(), "kids-buddy@99", 400, "policy_not_found"),
        (Caller(), "kids-buddy@", 400, "policy_not_found"),
        (Caller(), "kids-buddy@01", 400, "policy_not_found"),
        (Caller(policies=("*",)), "general@Zebra", 400, "policy_not_found"),
    ],
)
def test_what_is_denied(caller, asked, status, code):
    with pytest.raises(Denied) as denied:
        LIVE.serving(caller, asked)
    assert (denied.value.status, denied.value.code, denied.value.param) == (status, code, "x-kindrail-policy")
    assert "Zebra" not in denied.value.message


@pytest.mark.parametrize("asked", [None, "Zebra", "Zebra@1"])
def test_a_key_whose_policy_is_missing_is_no_fault_of_the_header(asked):
    with pytest.raises(Denied, match="policy of this key") as denied:
        LIVE.serving(Caller(policy="Zebra"), asked)
    assert (denied.value.status, denied.value.code, denied.value.param) == (503, "policy_not_found", None)


def test_the_version_in_service_is_named():
    with pytest.raises(Denied, match="kids-buddy@1 is"):
        LIVE.serving(Caller(), "kids-buddy@99")


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, []),
        ({"policy": "general", "policies": ["kids-*", "observe"]}, []),
        ({"policy": "foo"}, ["policy: there is no 'foo' in {folder}; there are: general, kids-buddy, observe"]),
        ({"policy": "kids-buddy@1"}, ["policy: there is no 'kids-buddy@1' in "]),
        ({"policies": ["kids-*", "kid-*"]}, ["policies[1]: 'kid-*' matches none in {folder}; there are: general, "]),
        ({"policy": "foo", "policies": ["foo"]}, ["policy: ", "policies[0]: "]),
    ],
)
def test_policies_of_a_key_that_the_folder_has_not(settings, found):
    key = KeyEntry.model_validate({"id": "tablet", "hash": hashed("k"), **settings})
    told = list(faults(key, SHIPPED_POLICIES))
    assert len(told) == len(found)
    for line, begin in zip(told, found, strict=True):
        assert line.startswith(begin.format(folder=SHIPPED_POLICIES))


def test_a_folder_without_policies_is_told_of(tmp_path):
    key = KeyEntry.model_validate({"id": "tablet", "hash": hashed("k")})
    with pytest.raises(FileNotFoundError):
        list(faults(key, tmp_path))


def keyed(*keys):
    return [
        KeyEntry.model_validate({"id": f"k{number}", "hash": hashed(str(number)), **one})
        for number, one in enumerate(keys)
    ]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["b"]),
        ({"policy": "a"}, ["a"]),
        ({"keys": keyed({"policy": "c"})}, ["b", "c"]),
        ({"keys": keyed({"policies": ["[ac]"]}, {"policy": "a"})}, ["b", "a", "c"]),
        ({"keys": keyed({"policies": ["*"]})}, ["b", "a", "c"]),
        ({"keys": keyed({})}, ["b"]),
        ({"keys_in_store": True}, ["b", "a", "c"]),
    ],
)
def test_what_is_in_service(tmp_path, settings, names):
    """The general one first, then what keys may bring; keys in Redis may bring any. Other YAML is none."""
    for name in "cab":
        (tmp_path / f"{name}.yaml").write_text("policy: x\n")
    (tmp_path / "recognizers.yaml").write_text("names: {}\n")
    config = Config(**{"policies": tmp_path, "policy": "b", **settings})
    assert in_service(config) == [tmp_path / f"{name}.yaml" for name in names]


def test_policies_that_are_missing_are_all_told(tmp_path):
    (tmp_path / "a.yaml").write_text("policy: a\n")
    config = Config(policies=tmp_path, policy="b", keys=keyed({"policy": "a"}, {"policy": "c", "policies": ["d*"]}))
    with pytest.raises(ConfigFault) as fault:
        in_service(config)
    first, *others = str(fault.value).splitlines()
    assert first == f"policy: there is no 'b' in {tmp_path}; there are: a"
    assert [line.partition(":")[0] for line in others] == ["keys[1].policy", "keys[1].policies[0]"]


SECOND = {"url": "http://gpu-2:8000"}
ADDRESSES = [  # (where the models are, whether the judge of children is at an address that the operator has named)
    ({"backend_url": "http://gpu-1:8000"}, True),
    ({}, False),  # the demo: nobody is there
    ({"backends": [SECOND | {"models": ["buddy", "guard"]}]}, True),
    ({"backends": [SECOND, SECOND | {"rename": {"guard": "meta/guard"}}]}, True),
    ({"backends": [SECOND]}, False),  # whatever it lists
    ({"backends": [SECOND | {"models": ["gu*"]}]}, False),
    ({"backends": [{"kind": "litellm", "models": ["*"]}]}, False),
]


@pytest.mark.parametrize(("settings", "named"), ADDRESSES)
def test_a_judge_of_children_is_at_an_address_that_the_operator_has_named(settings, named):
    given = {name: [BackendEntry.model_validate(one) for one in value] if name == "backends" else value
             for name, value in settings.items()}  # fmt: skip
    config = Config(**given)
    told = unnamed(config, [shipped("general"), guarded("child")])
    assert bool(told) != named
    if told:
        assert told.startswith("`kids-buddy` lets `guard` judge what children say: write that name under `models`")
    assert unnamed(config, [guarded("adult"), shipped("kids-buddy")]) == ""


def guarded(audience):
    policy = shipped("kids-buddy")
    judge = replace(policy.rails[-1], rail=SimpleNamespace(asks="guard"))
    return replace(policy, audience=audience, rails=(*policy.rails, judge))


KEYED = {"keys": [KeyEntry(id="a", hash=hashed("x"), policies=["kids-*"])]}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["kids-buddy"]),
        ({"policy": "general"}, []),
        ({"policy": "general", "keys_in_store": True}, ["kids-buddy"]),
        ({"policy": "general", **KEYED}, ["kids-buddy"]),
        ({"policy": "observe"}, []),  # it watches, and does not answer for anybody
        ({"safeguarding_webhook": "https://alerts.example.org"}, []),
    ],
)
def test_who_hears_children_in_danger_has_somebody_to_tell(settings, names):
    policies = [shipped(name) for name in ("general", "kids-buddy", "observe")]
    told = "safeguarding_webhook is not set: nobody is told of the children in danger that `kids-buddy` would hear"
    assert untold(Config(**settings), policies) == (told if names else "")


@pytest.mark.parametrize(("settings", "is_so"), [({}, False), ({"keys_in_store": True}, True), (KEYED, True)])
def test_keys_make_a_production(settings, is_so):
    assert in_production(Config(**settings)) is is_so
