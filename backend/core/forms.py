"""Forms as browsers send them: read, and checked against a model with complaints in words."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from backend.core.errors import UnsupportedMediaType

M = TypeVar("M", bound=BaseModel)
Form = dict[str, str]


def is_form(request: Request) -> bool:
    """Whether the body is what a browser's form makes."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in ("application/x-www-form-urlencoded", "multipart/form-data")


async def read_form(request: Request) -> Form:
    """The fields of a form, of each the last. Raises UnsupportedMediaType."""
    return {name: values[-1] for name, values in (await read_lists(request)).items()}


async def read_lists(request: Request) -> dict[str, list[str]]:
    """The fields of a form that may hold one several times. Raises UnsupportedMediaType."""
    if not is_form(request):
        raise UnsupportedMediaType("Send the form as a browser does.")
    found: dict[str, list[str]] = {}
    async with request.form(max_files=0, max_fields=50) as form:
        for name, value in form.multi_items():
            if isinstance(value, str):
                found.setdefault(name, []).append(value)
    return found


def checked(model: type[M], form: Mapping[str, Any], *, optional: Iterable[str] = ()) -> tuple[M | None, Form]:
    """The values of a form, or what is wrong with each, in words. Fields the model does not know are left alone, and so
    are `optional` ones that are empty."""
    empty = {name for name in optional if not form.get(name)}
    given = {name: form[name] for name in model.model_fields if name in form and name not in empty}
    try:
        return model.model_validate(given), {}
    except ValidationError as error:
        return None, {str(problem["loc"][0]): _in_words(problem) for problem in error.errors()}


def _in_words(problem: Any) -> str:
    if problem["type"] in ("missing", "string_too_short"):
        return "Please fill this in."
    if problem["type"] == "too_short":
        return "Choose at least one."
    if problem["type"] == "string_too_long":
        return f"Use at most {problem['ctx']['max_length']} characters."
    if problem["type"] in ("greater_than_equal", "less_than_equal"):
        least = problem["type"] == "greater_than_equal"
        return f"Use {problem['ctx']['ge']:,.15g} or more." if least else f"Use {problem['ctx']['le']:,.15g} or less."
    if problem["type"] in ("float_parsing", "int_parsing", "int_from_float", "finite_number"):
        return "This is not a number that fits here."
    message = str(problem["msg"]).removeprefix("Value error, ")
    return message[:1].upper() + message[1:]
