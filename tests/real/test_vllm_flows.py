"""Colang flows on the stream of a real vLLM: they change the text in mid-stream, in three languages."""

import pytest
from house import assistant, house
from real.kit import every_way, filled, roomy, saying

pytestmark = pytest.mark.real

OWN = """
define bot mind the fox
  "Shh, the fox is asleep."

define bot mind the fox (it)
  "Piano, la volpe dorme."

define bot mind the fox (ko)
  "쉿, 여우가 자고 있어."

define subflow no wolves
  \"\"\"A wolf is a puppy here, and a storm ends the story.\"\"\"
  if "wolf" in $bot_message
    $bot_message = "A puppy wagged its tail. "
  if "storm" in $bot_message
    bot mind the fox
    stop

define subflow quiet fox
  \"\"\"Whoever wakes the fox twice is asked to be quiet.\"\"\"
  if "fox" in $user_message
    if $session.woken
      bot mind the fox
      stop
    $session.woken = True
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    from proxy.config import SHIPPED_POLICIES
    from proxy.policy.load import load_policy

    folder = tmp_path_factory.mktemp("own")
    (folder / "rules").mkdir()
    (folder / "rules/own.co").write_text(OWN, "utf-8")
    for name in ("kids-buddy.yaml", "recognizers.yaml"):
        (folder / name).write_bytes((SHIPPED_POLICIES / name).read_bytes())
    for path in (SHIPPED_POLICIES / "flows").iterdir():
        (folder / "flows").mkdir(exist_ok=True)
        (folder / "flows" / path.name).write_bytes(path.read_bytes())
    rail = "{id: own, rail: colang, why: a test, folder: rules, input: [quiet fox], output: [no wolves]}"
    head = "policy: own\nversion: 1\nabout: A test.\naudience: child\nextends: kids-buddy\nlate_after: 30s\n"
    (folder / "own.yaml").write_text(f"{head}model: {{max_tokens: 3000}}\nrails:\n  - {rail}\n", "utf-8")
    return load_policy(folder / "own.yaml")


@pytest.mark.parametrize(
    ("says", "leaves"),
    [
        ("A bear sat. A wolf came by. They slept.", "A bear sat. A puppy wagged its tail. They slept."),
        ("A bear sat. A storm came up. They slept.", "A bear sat. Shh, the fox is asleep."),
    ],
)
async def test_a_flow_changes_the_text_in_mid_stream(vllm, own, says, leaves):
    async with house(policy=own, backend_url=vllm.url) as home:
        assert await every_way(home, "Tell me of the bear", session="flow-", **saying(says)) == leaves
        for turn in await home.audit():
            assert any("flow `no wolves` (rules/own.co:" in verdict["why"] for verdict in turn.closed["verdicts"])


async def test_a_flow_remembers(vllm, own):
    """The second time the model is not asked, and the child's language is spoken."""
    async with house(policy=own, backend_url=vllm.url) as home:
        said = "It naps."
        assert await every_way(home, "hello fox, the fox!", session="fox-", **saying(said)) == said
        asked = vllm.metric("vllm:prompt_tokens_total")
        talk = ["hello fox, the fox!", assistant(said), "la volpe, the fox! Vieni qui che giochiamo"]
        assert await every_way(home, *talk, session="fox-", **saying(said)) == "Piano, la volpe dorme."
        assert vllm.metric("vllm:prompt_tokens_total") == asked


SHIPPED = [  # language, what the child says, a setting, what the model says, what leaves
    ("en", "Tell me of the bear", "bedtime=on", "The bear naps. Let's run a race! It is dark.", "The bear naps. {house-flows/grow sleepy} It is dark."),
    ("it", "Raccontami dell'orso", "bedtime=on", "L'orso dorme. Facciamo una corsa! È buio.", "L'orso dorme. {house-flows/grow sleepy} È buio."),
    ("ko", "곰 이야기 해 줘", "bedtime=on", "곰이 자고 있어. 우리 달리기 시합 하자! 방이 어두워.", "곰이 자고 있어. {house-flows/grow sleepy} 방이 어두워."),
    ("en", "Hello you", "bedtime=off", "The cake is sweet. My mummy makes it on Sundays.", "The cake is sweet. {house-flows/stay honest}"),
    ("en", "Hello you", "bedtime=off", "The sun is up. Let's swap secrets about our friends.", "The sun is up. {house-flows/need no secrets}"),
]  # fmt: skip


@pytest.mark.parametrize(("lang", "user", "setting", "says", "leaves"), SHIPPED)
async def test_the_shipped_flows_on_a_real_stream(vllm, lang, user, setting, says, leaves):
    policy = roomy()
    async with house(policy=policy, backend_url=vllm.url) as home:
        home.client.headers["x-kindrail-set"] = setting
        assert await every_way(home, user, session="own-", **saying(says)) == filled(leaves, policy, lang)
