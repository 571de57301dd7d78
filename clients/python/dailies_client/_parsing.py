"""From JSON to the models: what a newer server says beyond them is passed over, what it leaves out may be None."""

import types
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dailies_client.errors import UnexpectedAnswer

T = TypeVar("T")


def parse(model: type[T], data: Any) -> T:
    """Raises UnexpectedAnswer."""
    try:
        result: T = _value(model, data)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UnexpectedAnswer(f"this is no {model.__name__}: {error!r}") from error
    return result


def parse_list(model: type[T], data: Any) -> list[T]:
    """Raises UnexpectedAnswer."""
    if not isinstance(data, list):
        raise UnexpectedAnswer(f"this is no list of {model.__name__}: {data!r:.100}")
    return [parse(model, each) for each in data]


@cache
def _hints(model: type) -> dict[str, Any]:
    hints = get_type_hints(model)
    return {each.name: hints[each.name] for each in fields(model)}


def _value(kind: Any, data: Any) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return None if data is None else _value(next(each for each in get_args(kind) if each is not type(None)), data)
    if origin is list:
        return [_value(get_args(kind)[0], each) for each in _of(list, data)]
    if origin is Literal:
        return _of(str, data)  # a newer server may know more of them
    if origin is dict:
        return _of(dict, data)
    if kind is datetime:
        return datetime.fromisoformat(data)
    if kind is float:
        return float(data)
    if isinstance(kind, type) and is_dataclass(kind):
        given = _of(dict, data)
        return kind(**{name: _value(hint, _field(given, name, hint)) for name, hint in _hints(kind).items()})
    return _of(kind, data)


def _field(given: dict[str, Any], name: str, hint: Any) -> Any:
    return given.get(name) if type(None) in get_args(hint) else given[name]


def _of(kind: type, data: Any) -> Any:
    if not isinstance(data, kind):
        raise TypeError(f"{data!r:.100} is no {kind.__name__}")
    return data
