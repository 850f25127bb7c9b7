"""Models for named entities that an operator has, and what else joins the patterns of `pii`."""

from dataclasses import replace

import pytest
import spacy

from proxy.turn import Act, Span
from rails import _ner, pii
from rails._tagger import Tagger


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A spaCy model that knows two names, saved to a folder."""
    words = spacy.blank("en")
    words.add_pipe("entity_ruler").add_patterns(
        [
            {"label": "PERSON", "pattern": "Zorblax"},
            {"label": "GPE", "pattern": "Quux"},
            {"label": "ORG", "pattern": "Acme"},
        ]
    )
    folder = tmp_path_factory.mktemp("ner") / "tiny"
    words.to_disk(folder)
    return folder


@pytest.fixture
def rail(house):
    def build(folder, entities=("EMAIL_ADDRESS",), **options):
        of = replace(house(), folder=folder)
        return pii.Rail("private", pii.RailOptions(recognizers="", entities=list(entities), **options), of)

    return build


async def test_a_spacy_model_beside_the_policy_joins_the_patterns(rail, judge, model):
    one = rail(model.parent, ner={"engine": "spacy", "model": "tiny"})
    text = "Ｚorblax of Acme in Quux, tom@example.com"
    verdict = await judge(one, text, role="user")
    assert [(text[span.start : span.end], span.entity) for span in verdict.spans] == [
        ("Ｚorblax", "PERSON"), ("Quux", "LOCATION"), ("tom@example.com", "EMAIL_ADDRESS"),
    ]  # fmt: skip
    assert one.entities == {"EMAIL_ADDRESS", "PERSON", "LOCATION"}


async def test_its_labels_are_called_as_the_policy_says(rail, judge, model):
    one = rail(model.parent, ner={"engine": "spacy", "model": "tiny", "labels": {"ORG": "EMPLOYER"}}, allow=["acme"])
    assert (await judge(one, "Zorblax", role="user")).act is Act.PASS
    assert (await judge(one, "at Acme", role="user")).act is Act.PASS  # allowed
    one = rail(model.parent, ner={"engine": "spacy", "model": "tiny", "labels": {"ORG": "EMPLOYER"}})
    assert (await judge(one, "at Acme", role="user")).spans == (Span(3, 7, "EMPLOYER"),)


async def test_a_model_that_is_not_sure_enough_is_not_believed(rail, judge, model):
    one = rail(model.parent, ner={"engine": "spacy", "model": "tiny"}, at_least=0.9)
    assert (await judge(one, "Zorblax", role="user")).act is Act.PASS  # spaCy tells no score: 0.85


@pytest.mark.parametrize(
    ("ner", "said"),
    [
        (
            {"engine": "spacy", "model": "en_core_web_lg"},
            "there is no folder .*en_core_web_lg; models are not downloaded",
        ),
        ({"engine": "spacy", "model": "empty"}, "`ner.model: empty` cannot be loaded by spacy"),
        ({"engine": "gliner", "model": "none"}, "there is no folder .*none"),
        ({"engine": "gliner", "model": "empty"}, "`ner.engine: gliner` needs a package that is not installed"),
        (
            {"engine": "huggingface", "model": "empty"},
            "`ner.engine: huggingface` needs a package that is not installed",
        ),
        ({"engine": "spacy", "model": "empty", "labels": {"PER": "person"}}, "person is no name of an entity"),
    ],
)
def test_what_is_missing_is_said(rail, tmp_path, monkeypatch, ner, said):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr("presidio_analyzer.predefined_recognizers.ner.gliner_recognizer.GLiNER", None)
    monkeypatch.setattr("presidio_analyzer.predefined_recognizers.ner.huggingface_ner_recognizer.hf_pipeline", None)
    monkeypatch.setattr("spacy.cli.download", lambda *_: pytest.fail("a model is downloaded"))
    with pytest.raises(ValueError, match=said):
        rail(tmp_path, ner=ner)


class FakeGliner:
    """Stands for the package, which is the operator's to install."""

    loaded = ()

    @classmethod
    def from_pretrained(cls, folder, **how):
        cls.loaded = (folder, how["local_files_only"])
        return cls()

    def predict_entities(self, text, labels, **_):
        start = text.find("Zorblax")
        return [{"label": labels[0], "start": start, "end": start + 7, "score": 0.9}] if start >= 0 else []


async def test_a_gliner_model_is_asked_for_its_labels_and_loaded_from_the_disk_alone(
    rail, judge, tmp_path, monkeypatch
):
    (tmp_path / "pii").mkdir()
    monkeypatch.setattr("presidio_analyzer.predefined_recognizers.ner.gliner_recognizer.GLiNER", FakeGliner)
    one = rail(tmp_path, ner={"engine": "gliner", "model": "pii", "labels": {"person": "PERSON"}})
    assert FakeGliner.loaded == (str(tmp_path / "pii"), True)
    assert (await judge(one, "it is Zorblax!", role="user")).spans == (Span(6, 13, "PERSON"),)


async def test_a_hugging_face_model_is_mapped_to_our_names(rail, judge, tmp_path, monkeypatch):
    (tmp_path / "ner").mkdir()
    at = "presidio_analyzer.predefined_recognizers.ner.huggingface_ner_recognizer"

    def pipeline(*_, **__):
        return lambda text, **_: [
            {"entity_group": "PER", "start": 0, "end": 3, "score": 0.99},
            {"entity_group": "MISC", "start": 4, "end": 6, "score": 0.99},
        ]

    monkeypatch.setattr(f"{at}.hf_pipeline", pipeline)
    monkeypatch.setattr(f"{at}.torch", object())
    one = rail(tmp_path, ner={"engine": "huggingface", "model": "ner"})
    assert (await judge(one, "Bo! is", role="user")).spans == (Span(0, 3, "PERSON"),)


async def test_what_the_learned_model_finds_joins_the_patterns(rail, judge, tmp_path, monkeypatch):
    found = [
        (Span(0, 3, "PERSON"), 0.9),
        (Span(4, 6, "PERSON"), 0.2),
        (Span(7, 9, "SCHOOL"), 0.9),
        (Span(10, 12, "PERSON"), 0.9),
    ]
    monkeypatch.setattr(Tagger, "spans", lambda self, segment: found)
    options = {"entities": ["PERSON", "EMAIL_ADDRESS"], "allow": ["me"]}
    text = "Zoe hm at me t@x.org"
    learned = rail(tmp_path, learned="child", **options)
    assert [text[span.start : span.end] for span in (await judge(learned, text, role="user")).spans] == [
        "Zoe",
        "t@x.org",
    ]
    plain = rail(tmp_path, **options)
    assert [text[span.start : span.end] for span in (await judge(plain, text, role="user")).spans] == ["t@x.org"]


@pytest.mark.parametrize(
    ("learned", "span"),
    [
        (Span(0, 12, "LOCATION"), Span(0, 12, "LOCATION")),  # a pattern may have found but a part of one
        (Span(4, 9, "PERSON"), Span(3, 10, "EMAIL_ADDRESS")),
        (Span(0, 12, "USERNAME"), Span(3, 10, "EMAIL_ADDRESS")),  # of others a pattern knows the bounds
        (Span(9, 12, "SCHOOL"), Span(3, 10, "EMAIL_ADDRESS")),
    ],
)
async def test_where_a_pattern_and_the_learned_model_find_a_datum(rail, judge, tmp_path, monkeypatch, learned, span):
    monkeypatch.setattr(Tagger, "spans", lambda self, segment: [(learned, 0.9)])
    one = rail(tmp_path, learned="child", entities=["PERSON", "LOCATION", "USERNAME", "SCHOOL", "EMAIL_ADDRESS"])
    assert (await judge(one, "to t@x.org!!", role="user")).spans == (span,)


@pytest.mark.parametrize(
    ("fields", "opens"),
    [
        ({"role": "user", "text": "t@x.org"}, "keep"),
        ({"role": "tool", "text": "t@x.org"}, ""),
        ({"role": "assistant", "text": "t@x.org"}, ""),
        ({"role": "user", "text": "see www.example.com"}, ""),  # tells nothing of who says it
        ({"role": "user", "text": "hello"}, ""),
    ],
)
async def test_the_kind_word_is_wanted_where_somebody_tells_of_themselves(rail, judge, tmp_path, fields, opens):
    one = rail(tmp_path, entities=["EMAIL_ADDRESS", "URL"], say_once="keep")
    assert (await judge(one, **fields)).opens == opens


def test_the_labels_that_models_have_are_known():
    assert _ner.NerOptions(engine="spacy", model="x").labels["GPE"] == "LOCATION"
