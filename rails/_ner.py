"""A model for named entities that the operator has, through Presidio's own recognizers. Nothing is ever downloaded.

Its packages (`gliner`, `transformers`) are the operator's to install; spaCy comes with Presidio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import spacy
from presidio_analyzer import RecognizerResult
from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import GLiNERRecognizer, HuggingFaceNerRecognizer, SpacyRecognizer
from pydantic import Field, field_validator

from proxy.turn import Options, Plain, Span

ANY = "any"  # the one language that a model is registered under: it judges texts of all
_LABELS = {"PERSON": "PERSON", "PER": "PERSON", "PS": "PERSON", "GPE": "LOCATION", "LOC": "LOCATION", "LC": "LOCATION"}
_Analyze = Callable[[str], list[RecognizerResult]]


class NerOptions(Options):
    """A model for named entities, which the operator has on the disk."""

    engine: Literal["spacy", "gliner", "huggingface"] = Field(
        description="What runs the model: spaCy, or the packages `gliner` or `transformers` where they are installed."
    )
    model: str = Field(
        min_length=1,
        description="The model's folder, relative to the policy's; for spaCy also the name of an installed model.",
    )
    labels: dict[str, str] = Field(
        _LABELS,
        min_length=1,
        description="What the model's labels are called here, such as `{PER: PERSON}`; others are left out. "
        "A GLiNER model is asked for these labels: `{person: PERSON, street address: LOCATION}`.",
    )

    @field_validator("labels")
    @classmethod
    def _entities(cls, labels: dict[str, str]) -> dict[str, str]:
        wrong = [name for name in labels.values() if not name.replace("_", "").isalpha() or not name.isupper()]
        if wrong:
            raise ValueError(f"{wrong[0]} is no name of an entity; write capitals and underscores, as in PERSON")
        return labels


class Ner:
    """One model, loaded. `find` takes its time: call it in a thread."""

    def __init__(self, options: NerOptions, folder: Path) -> None:
        """folder: the policy's. Raises `ValueError` that says what is missing, and what to do."""
        self.entities = frozenset(options.labels.values())
        load = {"spacy": _spacy, "gliner": _gliner, "huggingface": _huggingface}[options.engine]
        try:
            self._analyze = load(_place(options, folder), options.labels, sorted(self.entities))
        except ImportError as missing:
            raise ValueError(
                f"`ner.engine: {options.engine}` needs a package that is not installed: {missing}"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise ValueError(f"`ner.model: {options.model}` cannot be loaded by {options.engine}: {fault}") from None
        self._lock = Lock()  # spaCy's memory zones, and most models, are for one thread at a time

    def find(self, text: Plain) -> list[tuple[Span, float]]:
        """What the model names in `text`, with scores; offsets are those of the original."""
        with self._lock:
            found = [(one.start, one.end, one.entity_type, one.score) for one in self._analyze(text.text)]
        return [(Span(*text.span(start, end), entity), score) for start, end, entity, score in found if start < end]


def _place(options: NerOptions, folder: Path) -> str:
    """The model's folder, or the name of an installed spaCy model."""
    beside = folder / options.model
    if beside.is_dir():
        return str(beside)
    if options.engine == "spacy" and spacy.util.is_package(options.model):
        return options.model
    raise ValueError(f"there is no folder {beside}; models are not downloaded, so put it there")


def _spacy(model: str, labels: Mapping[str, str], entities: list[str]) -> _Analyze:
    settings = NerModelConfiguration(model_to_presidio_entity_mapping=dict(labels), labels_to_ignore=[])
    engine = SpacyNlpEngine([{"lang_code": ANY, "model_name": model}], settings)
    engine.load()
    recognizer = SpacyRecognizer(ANY, entities)
    words = engine.get_nlp(ANY)

    def analyze(text: str) -> list[RecognizerResult]:
        with words.memory_zone():  # else its vocabulary grows with every new word
            found: list[RecognizerResult] = recognizer.analyze(text, entities, engine.process_text(text, ANY))
        return found

    return analyze


def _gliner(model: str, labels: Mapping[str, str], entities: list[str]) -> _Analyze:
    mapping = dict(labels)
    return _alone(
        GLiNERRecognizer(model_name=model, entity_mapping=mapping, supported_language=ANY, local_files_only=True),
        entities,
    )


def _huggingface(model: str, labels: Mapping[str, str], entities: list[str]) -> _Analyze:
    mapping = dict(labels)
    return _alone(HuggingFaceNerRecognizer(model_name=model, label_mapping=mapping, supported_language=ANY), entities)


def _alone(recognizer: Any, entities: list[str]) -> _Analyze:
    """A recognizer that needs none of spaCy's words."""

    def analyze(text: str) -> list[RecognizerResult]:
        return [one for one in recognizer.analyze(text, entities) if one.entity_type in entities]

    return analyze
