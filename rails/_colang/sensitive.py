"""NeMo's sensitive-data actions on our own Presidio engine, so that its library flows work without a language model.

They read the section `rails.config.sensitive_data_detection` of the folder's `config.yml` as NeMo does: `input` and
`output` name `entities`, `score_threshold` counts where data are looked for, what is found is masked as `<ENTITY>`,
`recognizers` are Presidio's no-code recognizers. What only a language model finds is told when the policy is loaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from presidio_analyzer import PatternRecognizer

from proxy.turn import Fault, Span, plain
from rails._colang.folder import Flow
from rails._colang.nemo import RailOutcome
from rails._colang.script import Source, inside
from rails._colang.stock import entries
from rails._presidio import ANY, ENTITIES, Detector, engine

NAMES = ("detect_sensitive_data", "mask_sensitive_data")
_SECTION = ("rails", "config", "sensitive_data_detection")
_TARGETS: Mapping[str, Any] = {"input": "user_message", "output": "bot_message"}
_MASKED_FROM = 0.4  # the least score at which NeMo masks, whatever `score_threshold` says
_INLINE = 1000  # characters: longer texts are analysed in a thread, so that others do not wait
_REGIONS = ("US", "GB", "IT", "KR")  # whose phone numbers are known, as in the `pii` rail


class Sensitive:
    """The two actions over one folder's configuration. `table`: by the name that a flow calls them by.

    config: NeMo's `RailsConfig`. Raises `ValueError` where that is empty, or a recognizer of it is none.
    """

    def __init__(self, config: Any) -> None:
        section = config.rails.config.sensitive_data_detection
        if section is None:
            raise ValueError("flows look for sensitive data, and `rails.config.sensitive_data_detection` is empty")
        self._own = [_recognizer(one) for one in section.recognizers]
        self._options = {source: getattr(section, source) for source in _TARGETS}
        self._detect = {source: self._finder(one, one.score_threshold) for source, one in self._options.items()}
        self._mask = {source: self._finder(one, _MASKED_FROM) for source, one in self._options.items()}
        self.table: Mapping[str, Callable[..., Any]] = {
            "detect_sensitive_data": self.detect_sensitive_data,
            "mask_sensitive_data": self.mask_sensitive_data,
        }

    async def detect_sensitive_data(self, source: str, text: str) -> RailOutcome:
        """Blocks where `text` holds data of the entities of `source` (`input` or `output`). Raises `SlowPattern`."""
        found = await _found(self._detect[source], text)
        outcome = RailOutcome.block if found else RailOutcome.allow
        return outcome(metadata={"has_sensitive_data": bool(found)})

    async def mask_sensitive_data(self, source: str, text: str) -> RailOutcome:
        """Puts `<ENTITY>` over the data of the entities of `source` in `text`. Raises `SlowPattern`."""
        masked = _masked(text, await _found(self._mask[source], text))
        metadata = {"source": source, "text": text, "masked_text": masked}
        if masked == text:
            return RailOutcome.allow(metadata=metadata)
        return RailOutcome.transform([(_TARGETS[source], masked)], metadata=metadata)

    def unknown(self, folder: Path, name: str) -> Iterator[Fault]:
        """What the configuration asks for and nothing here finds. name: how faults call the folder."""
        known = {*ENTITIES, *(one for own in self._own for one in own.supported_entities)}
        for entity in dict.fromkeys(one for options in self._options.values() for one in options.entities):
            if entity not in known:
                message = f"`{entity}` is not looked for: Presidio needs a language model for it"
                hint = "the policy's `pii` rail hides what people tell of themselves, names and places too"
                yield replace(_where(entity, folder, name), message=message, hint=hint)

    def _finder(self, options: Any, at_least: float) -> _Finder | None:
        return _Finder(options.entities, self._own, at_least) if options.entities else None


def bound(
    flows: Mapping[str, Flow], config: Any, folder: Path, name: str
) -> tuple[Mapping[str, Callable[..., Any]], tuple[Fault, ...]]:
    """The actions where a flow calls one, and what of their configuration is not looked for."""
    called = {element.get("action_name") for flow in flows.values() for element in flow.elements}
    if called.isdisjoint(NAMES):
        return {}, ()
    sensitive = Sensitive(config)
    return sensitive.table, tuple(sensitive.unknown(folder, name))


class _Finder:
    """Our detector and the configuration's own recognizers, for some entities."""

    def __init__(self, entities: Sequence[str], own: Iterable[PatternRecognizer], at_least: float) -> None:
        self._detector = Detector(entities, _REGIONS, (), at_least)
        self._entities = [one for recognizer in own for one in recognizer.supported_entities if one in entities]
        wanted = [one for one in own if one.supported_entities[0] in entities]
        self._engine = engine(wanted, at_least) if wanted else None

    def find(self, text: str) -> list[tuple[Span, float]]:
        """The data in `text` with scores, perhaps overlapping. Raises `SlowPattern`."""
        found = self._detector.find(plain(text))
        if self._engine:
            results = self._engine.analyze(text, ANY, self._entities)
            found += [(Span(one.start, one.end, one.entity_type), one.score) for one in results]
        return found


async def _found(finder: _Finder | None, text: str) -> list[tuple[Span, float]]:
    if finder is None:
        return []
    return finder.find(text) if len(text) <= _INLINE else await asyncio.to_thread(finder.find, text)


def _masked(text: str, found: Sequence[tuple[Span, float]]) -> str:
    """`text` with its data masked; of those that overlap the surest, then the longest, names the whole."""
    pieces: list[str] = []
    end = 0
    for span in _joined(found):
        pieces += [text[end : span.start], f"<{span.entity}>"]
        end = span.end
    return "".join([*pieces, text[end:]])


def _joined(found: Sequence[tuple[Span, float]]) -> list[Span]:
    joined: list[Span] = []
    best = (0.0, 0)
    for span, score in sorted(found, key=lambda one: (one[0].start, -one[0].end)):
        own = (score, span.end - span.start)
        if joined and span.start < joined[-1].end:
            last = joined.pop()
            joined.append(Span(last.start, max(last.end, span.end), span.entity if own > best else last.entity))
            best = max(best, own)
        else:
            joined.append(span)
            best = own
    return joined


def _recognizer(written: Mapping[str, Any]) -> PatternRecognizer:
    """One of the configuration's recognizers, for any language. Raises `ValueError`."""
    try:
        return PatternRecognizer.from_dict({**written, "supported_language": ANY})
    except Exception as error:
        name = written.get("name", "without a name")
        raise ValueError(f"the recognizer {name} under `sensitive_data_detection` is none: {error}") from None


def _where(entity: str, folder: Path, name: str) -> Fault:
    """A fault without words, where the lists of a folder's configuration name an entity first."""
    for path in inside(folder, ".yml", ".yaml"):
        source = Source.read(path, folder)
        lists = (entries(source.text, (*_SECTION, side, "entities")) for side in _TARGETS)
        for node in (node for nodes in lists for node in nodes if node.value == entity):
            line, column = node.start_mark.line, node.start_mark.column
            return Fault(f"{name}/{source.file}", line + 1, column + 1, "", source.lines[line])
    return Fault(f"{name}/config.yml", 1, 1, "")
