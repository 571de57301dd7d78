"""Cursors: opaque, bound to their order, and harmless whatever is sent in their place."""

import base64
import json
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import DateTime, Float, Integer, String, Uuid, column
from sqlalchemy.dialects import postgresql

from backend.core.errors import BadCursor
from backend.core.paging import Order

POSTGRES = postgresql.dialect()  # type: ignore[no-untyped-call]
ROW_ID = uuid.UUID("00000000-0000-4000-8000-000000000001")
ID = column("id", Uuid())
BY_TIME = Order("created_at", column("created_at", DateTime(timezone=True)), ID, datetime, True)
BY_TITLE = Order("title", column("title", String()), ID, str, False)
BY_SIZE = Order("size", column("size", Integer()), ID, int, True)
BY_DURATION = Order("duration", column("duration", Float()), ID, float, False)
ORDERS = [BY_TIME, BY_TITLE, BY_SIZE, BY_DURATION]


def forged(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).rstrip(b"=").decode()


def values(order: Order, cursor: str) -> set[object]:
    compiled = order.after(cursor).compile(dialect=POSTGRES)
    return set(compiled.params.values())


def test_a_cursor_gives_back_exactly_the_row_it_was_made_of() -> None:
    moment = datetime(2026, 3, 1, 12, 0, 0, 123457, tzinfo=UTC)
    assert values(BY_TIME, BY_TIME.cursor(moment, ROW_ID)) == {moment, ROW_ID}
    assert values(BY_TITLE, BY_TITLE.cursor("ünder \U0001f3ac", ROW_ID)) == {"ünder \U0001f3ac", ROW_ID}
    assert values(BY_SIZE, BY_SIZE.cursor(2**40, ROW_ID)) == {2**40, ROW_ID}
    assert values(BY_DURATION, BY_DURATION.cursor(0.1 + 0.2, ROW_ID)) == {0.1 + 0.2, ROW_ID}


def test_rows_are_compared_as_rows_in_the_direction_of_the_order() -> None:
    down = str(BY_SIZE.after(BY_SIZE.cursor(5, ROW_ID)).compile(dialect=POSTGRES))
    up = str(BY_TITLE.after(BY_TITLE.cursor("a", ROW_ID)).compile(dialect=POSTGRES))
    assert down.startswith("(size, id) < (")
    assert up.startswith("(title, id) > (")


def test_a_cursor_of_another_order_is_refused() -> None:
    for made in ORDERS:
        cursor = made.cursor("a" if made is BY_TITLE else BY_TIME._key(5) if made is BY_TIME else 5, ROW_ID)
        for used in ORDERS:
            if used is not made:
                with pytest.raises(BadCursor):
                    used.after(cursor)
        with pytest.raises(BadCursor):
            made.reversed().after(cursor)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "!!!!",
        "é",
        "A" * 5000,
        forged(),
        forged("size", True, 5),
        forged("size", True, 5, 7),
        forged("size", True, "5", ROW_ID.hex),
        forged("size", True, True, ROW_ID.hex),
        forged("size", True, 1.5, ROW_ID.hex),
        forged("size", True, 2**63, ROW_ID.hex),
        forged("size", True, None, ROW_ID.hex),
        forged("size", 1, 5, ROW_ID.hex),
        forged("size", True, 5, "nothex"),
        forged({"size": 1}),
        base64.urlsafe_b64encode(b"[" * 1400).decode(),
        base64.urlsafe_b64encode(b'["size",true,' + b"9" * 1300 + b',"x"]').decode(),
        base64.urlsafe_b64encode(b"\xff\xfe\xfd").decode(),
    ],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        BY_SIZE.after(cursor)


@pytest.mark.parametrize("place", ["\0", "a\0b", "\ud800", 5, None, ["a"]])
def test_texts_that_the_database_cannot_hold_are_refused(place: object) -> None:
    with pytest.raises(BadCursor):
        BY_TITLE.after(forged("title", False, place, ROW_ID.hex))


@pytest.mark.parametrize("place", [float("nan"), float("inf"), "1", None])
def test_numbers_without_an_order_are_refused(place: object) -> None:
    with pytest.raises(BadCursor):
        BY_DURATION.after(forged("duration", False, place, ROW_ID.hex))


@pytest.mark.parametrize("place", [2**62, -(2**62), 10**18])
def test_times_outside_the_calendar_are_refused(place: int) -> None:
    with pytest.raises(BadCursor):
        BY_TIME.after(forged("created_at", True, place, ROW_ID.hex))


@given(st.text(max_size=300))
def test_no_text_breaks_a_reader(text: str) -> None:
    for order in ORDERS:
        with pytest.raises(BadCursor):
            order.after(text)


@given(st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)), max_size=5))
def test_no_forged_content_breaks_a_reader(parts: list[object]) -> None:
    for order in ORDERS:
        with pytest.raises(BadCursor):
            order.after(forged(*parts))
