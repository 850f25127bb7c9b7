"""Text into types: pydantic does the work, and its complaints become faults at their place, in plain words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from proxy.faults import Fault, listed, nearest
from proxy.policy.marks import Loc, data, fault, place

M = TypeVar("M", bound=BaseModel)

_WORDS = {
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_parsing": "must be true or false",
    "date_from_datetime_parsing": "must be a date, such as 2026-11-21",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "string_pattern_mismatch": "must be written in small letters, digits and hyphens",
}


@dataclass
class Sheet:
    """One policy under examination: its tree, the same as plain data, and the faults found so far."""

    root: yaml.MappingNode
    raw: dict[str, Any] = field(init=False)
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.raw = data(self.root)

    def fault(self, loc: Loc, message: str, hint: str = "", *, key: bool = False) -> None:
        """Notes a fault at the value of `loc`, or at its key."""
        self.faults.append(fault(place(self.root, loc, key=key), message, hint))

    def part(self, name: str) -> dict[str, Any]:
        """A top-level mapping; empty where it is missing or (a fault noted elsewhere) no mapping."""
        value = self.raw.get(name)
        return value if isinstance(value, dict) else {}


def typed(model: type[M], given: Mapping[str, Any], sheet: Sheet, at: Loc = (), owner: str = "a policy") -> M | None:
    """`given`, which stands at `at`, as `model`; None, with its faults noted on the sheet, where it does not fit."""
    for name, info in model.model_fields.items():
        if info.annotation is bool and given.get(name, "true") not in (
            "true",
            "false",
        ):  # pydantic takes `on`
            sheet.fault((*at, name), f"`{name}` must be true or false")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _note(detail, model, sheet, at, owner)
    return None


def _note(detail: ErrorDetails, model: type[BaseModel], sheet: Sheet, at: Loc, owner: str) -> None:
    loc = detail["loc"]
    if detail["type"] == "extra_forbidden":
        hint = nearest(str(loc[-1]), _fields(model, loc[:-1]))
        sheet.fault((*at, *loc), f"`{loc[-1]}` is not a field of {_name(loc[:-1]) or owner}", hint, key=True)
    elif detail["type"] == "missing":
        sheet.fault((*at, *loc[:-1]), f"`{loc[-1]}` is missing", key=True)
    else:
        sheet.fault((*at, *loc), *_in_words(detail, _name(loc)))


def _name(loc: Loc) -> str:
    """`say.bye.en`; of a rail's entry only the field, as the place shows the rail."""
    steps = [step for step in loc if isinstance(step, str) and step not in ("rails", "[key]")]  # pydantic's, of a key
    return f"`{'.'.join(steps)}`" if steps else ""


def _in_words(detail: ErrorDetails, name: str) -> tuple[str, str]:
    """The message and the hint for a value that does not fit."""
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":
        return f"{name}: {context['error']}".removeprefix(": "), ""
    if detail["type"] == "literal_error":
        expected = re.findall(r"'(.*?)'", str(context["expected"]))
        return f"{name} must be {listed(expected)}", nearest(str(detail["input"]), expected)
    return f"{name or 'this'} {_WORDS.get(detail['type']) or re.sub(r'^.*? should ', 'must ', detail['msg'])}", ""


def _fields(model: Any, loc: Loc) -> list[str]:
    """The fields of the model that stands at `loc` inside `model`."""
    for step in loc:
        model = model.model_fields[step].annotation if _is_model(model) else get_args(model)[-1]
        model = next(filter(_is_model, get_args(model)), model) if NoneType in get_args(model) else model
    return list(model.model_fields) if _is_model(model) else []


def entries_of(option: FieldInfo) -> type[BaseModel] | None:
    """The model of a mapping's entries, where the option is a mapping of such."""
    inner = get_args(option.annotation)[-1:] if get_origin(option.annotation) is dict else ()
    return inner[0] if inner and _is_model(inner[0]) else None


def fields_of(option: FieldInfo) -> type[BaseModel] | None:
    """The model of an option that has options of its own."""
    return next((one for one in (option.annotation, *get_args(option.annotation)) if _is_model(one)), None)


def _is_model(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)
