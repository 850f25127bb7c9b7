"""A game of the shipped policy without its other judges, so that a test sees what the rail `game` alone does."""

from copy import deepcopy
from dataclasses import replace
from functools import cache

from proxy.config import SHIPPED_POLICIES
from proxy.policy.load import load_policy
from proxy.policy.trial import Talk
from proxy.turn import Act, House, Phrases, Verdict
from rails.game import Rail, RailOptions


class Says:
    """A rail that ends or resumes on fixed words."""

    def __init__(self, key, ends="", resumes=""):
        self.key, self._ends, self._resumes = key, ends, resumes

    async def check(self, segment):
        if self._resumes and segment.text == self._resumes:
            return Verdict(resumes=True)
        return Verdict(Act.END) if segment.text == self._ends else Verdict()


@cache
def policy(**options):
    """`kids-buddy` with no rail but `games` and the shape rails; "stop" stops, "go on" takes it back, "help" alarms."""
    shipped = load_policy(SHIPPED_POLICIES / "kids-buddy.yaml")
    lists = {"asks": Phrases({"en": ["are you really"]})}
    others = {"stop": Says("stop", "stop", "go on"), "crisis": Says("crisis", "help")}
    house = House(shipped.languages, lists, SHIPPED_POLICIES, shipped.say, frozenset(shipped.steer), others)
    rail = Rail("games", RailOptions(asks_person="asks", **options), house)
    ours = [bound for bound in shipped.rails if bound.id in ("games", "clamp", "repeat")]
    rails = tuple(replace(bound, rail=rail) if bound.id == "games" else bound for bound in ours)
    return replace(shipped, rails=rails, hold="sentence")


class Game:
    """A talk in one language; `secret` fixes what the house would have picked."""

    def __init__(self, language="en", settings=None, **options):
        self.talk = Talk(policy(**options), settings or {})
        self.language = language

    @property
    def state(self):
        return self.talk.line.turn.state.setdefault("games", {})

    def keep(self, secret):
        self.state["game"]["secret"] = secret

    async def hear(self, text, instructions=""):
        """The notes that the model gets."""
        self.talk.begin(text, self.language)
        self.talk.line.turn.instructions = instructions
        return " ".join((await self.talk.hear(text)).steer)

    async def answer(self, text):
        """What leaves of an answer, which must not hang on how it was cut."""
        turn = self.talk.line.turn
        before, outcomes = deepcopy(turn.state), []
        for chunks in ([text], list(text)):
            turn.state.clear()
            turn.state.update(deepcopy(before))
            turn.memo.clear()
            outcomes.append(((await self.talk.answer(chunks)).text, deepcopy(turn.state)))
        assert outcomes[0] == outcomes[1]
        return outcomes[0][0]
