"""Lists of videos: search, filters, orders and pages, exact and by index."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event, text

from backend.core.db import database, transaction
from backend.videos import listing
from backend.videos.models import VideoStatus
from backend.videos.search import VideoQuery
from tests.conftest import Person
from tests.videos.sending import LONG_AGO, add_row, add_rows, code, project_of


async def ask(user: Person, **params: Any) -> dict[str, Any]:
    answer = await user.client.get("/api/videos", params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def titles(user: Person, **params: Any) -> list[str]:
    return [video["title"] for video in (await ask(user, **params))["videos"]]


async def walk(user: Person, **params: Any) -> list[dict[str, Any]]:
    """All rows, page by page along the cursors."""
    page = await ask(user, **params)
    rows = page["videos"]
    while cursor := page["pagination"]["next_cursor"]:
        page = await ask(user, cursor=cursor, **params)
        assert page["pagination"]["page"] is None
        rows += page["videos"]
    return list(rows)


# --- pages -----------------------------------------------------------------------------------------------------------


async def test_an_empty_library_is_one_empty_page(user: Person) -> None:
    assert await ask(user) == {
        "videos": [],
        "pagination": {"page": 1, "limit": 20, "total": 0, "total_pages": 0, "totalPages": 0, "next_cursor": None},
    }


async def test_pages_count_exactly(user: Person) -> None:
    ids = await add_rows(user, 45)
    first, last, beyond = [await ask(user, page=page) for page in (1, 3, 4)]
    assert [len(page["videos"]) for page in (first, last, beyond)] == [20, 5, 0]
    assert first["videos"][0]["created_at"] >= first["videos"][-1]["created_at"]
    for number, page in ((1, first), (3, last), (4, beyond)):
        assert {**page["pagination"], "next_cursor": ""} == {
            "page": number, "limit": 20, "total": 45, "total_pages": 3, "totalPages": 3, "next_cursor": "",
        }  # fmt: skip
    assert first["pagination"]["next_cursor"]
    assert last["pagination"]["next_cursor"] is None
    shown = [video["id"] for page in (1, 2, 3) for video in (await ask(user, page=page))["videos"]]
    assert sorted(shown) == sorted(ids)
    assert (await ask(user, limit=100))["pagination"]["total_pages"] == 1
    assert (await ask(user, limit=45))["pagination"]["next_cursor"] is None


@pytest.mark.parametrize("sort", ["created_at", "title", "duration", "size"])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_every_order_walks_over_every_row_once(user: Person, sort: str, order: str) -> None:
    ids = await add_rows(user, 53)
    rows = await walk(user, sort=sort, order=order, limit=7)
    assert sorted(row["id"] for row in rows) == sorted(ids)
    key = {"size": "size_bytes"}.get(sort, sort)
    keys = [(row[key].lower() if key == "title" else row[key] or 0, row["id"]) for row in rows]
    assert keys == sorted(keys, reverse=order == "desc")
    by_page = [
        row for page in range(1, 9) for row in (await ask(user, sort=sort, order=order, limit=7, page=page))["videos"]
    ]
    assert by_page == rows


async def test_deep_pages_continue_the_shallow_ones(user: Person) -> None:
    await add_rows(user, 1250)
    rows = [row["id"] for row in await walk(user, sort="duration", limit=100)]
    assert len(rows) == 1250
    for page in (1, 5, 6, 7, 8, 12, 13):
        body = await ask(user, sort="duration", limit=100, page=page)
        assert [video["id"] for video in body["videos"]] == rows[(page - 1) * 100 : page * 100]
        assert (body["pagination"]["next_cursor"] is None) == (page == 13)
    from_deep = await ask(user, sort="duration", limit=100, page=12)
    last = await ask(user, sort="duration", limit=100, cursor=from_deep["pagination"]["next_cursor"])
    assert [video["id"] for video in last["videos"]] == rows[1200:]


async def test_rows_that_come_or_go_do_not_shift_a_cursor(user: Person) -> None:
    ids = await add_rows(user, 9)
    first = await ask(user, order="asc", limit=3)
    await user.client.delete(f"/api/videos/{first['videos'][0]['id']}")
    await add_row(user, "Older", created_at=LONG_AGO - timedelta(days=1))
    rest = await ask(user, order="asc", limit=100, cursor=first["pagination"]["next_cursor"])
    seen = [video["id"] for video in first["videos"] + rest["videos"]]
    assert sorted(seen) == sorted(ids)


async def test_a_cursor_is_bound_to_its_order(user: Person) -> None:
    await add_rows(user, 5)
    cursor = (await ask(user, limit=2))["pagination"]["next_cursor"]
    for params in ({"sort": "title"}, {"order": "asc"}, {"sort": "size", "order": "asc"}):
        answer = await user.client.get("/api/videos", params={"cursor": cursor, **params})
        assert (answer.status_code, code(answer)) == (400, "bad_cursor")


# --- orders and filters ----------------------------------------------------------------------------------------------


async def test_orders_have_natural_directions_and_older_names(user: Person) -> None:
    await add_row(user, "banana", created_at=LONG_AGO, duration=5.0, size_bytes=1)
    await add_row(user, "Apple", created_at=LONG_AGO + timedelta(days=1), duration=None, size_bytes=3)
    await add_row(user, "cherry", created_at=LONG_AGO + timedelta(days=2), duration=9.5, size_bytes=2)
    assert await titles(user) == await titles(user, sort="date") == ["cherry", "Apple", "banana"]
    assert await titles(user, sort="title") == await titles(user, sort="name") == ["Apple", "banana", "cherry"]
    assert await titles(user, sort="title", order="desc") == ["cherry", "banana", "Apple"]
    assert await titles(user, sort="duration") == ["cherry", "banana", "Apple"]
    assert await titles(user, sort="size", order="asc") == ["banana", "cherry", "Apple"]


async def test_filters_narrow_the_list_and_its_total(user: Person) -> None:
    await add_row(user, "One", status=VideoStatus.FAILED)
    await add_row(user, "Two", status=VideoStatus.PROCESSING, source="generation")
    await add_row(user, "Three", source="generation")
    for params, expected in (
        ({"status": "failed"}, ["One"]),
        ({"source": "generation", "sort": "title"}, ["Three", "Two"]),
        ({"source": "generation", "status": "completed"}, ["Three"]),
        ({"source": "session"}, []),
        ({"status": "uploaded"}, []),
        ({"status": "", "q": "", "sort": "title", "order": ""}, ["One", "Three", "Two"]),
        ({"q": "two", "status": "failed"}, []),
    ):
        body = await ask(user, **params)
        assert [video["title"] for video in body["videos"]] == expected, params
        assert body["pagination"]["total"] == len(expected)


# --- search ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("beach", {"A day at the Beach", "beach-volley"}),
        ("BEA", {"A day at the Beach", "beach-volley"}),
        ("each", set()),
        ("day beach", {"A day at the Beach"}),
        ("beach da", {"A day at the Beach"}),
        ("beach night", set()),
        ("my-file_01", {"Untitled"}),
        ("01", {"Untitled"}),
        ("file", {"Untitled"}),
        ("mp4", {"A day at the Beach", "beach-volley", "Untitled", "Été à Zürich", "日本語の動画", "1.5 hours"}),
        ("seagulls", {"A day at the Beach"}),
        ("été", {"Été à Zürich"}),
        ("ÉTÉ zür", {"Été à Zürich"}),
        ("日本", {"日本語の動画"}),
        ("1.5", {"1.5 hours"}),
        ("the", {"A day at the Beach"}),
        ("!!!", set()),
        ("  ", {"A day at the Beach", "beach-volley", "Untitled", "Été à Zürich", "日本語の動画", "1.5 hours"}),
    ],
)
async def test_words_are_found_by_their_beginnings(user: Person, q: str, found: set[str]) -> None:
    await add_row(user, "A day at the Beach", description="With seagulls, mostly.")
    await add_row(user, "beach-volley")
    await add_row(user, "Untitled", filename="my-file_01.mp4")
    await add_row(user, "Été à Zürich")
    await add_row(user, "日本語の動画")
    await add_row(user, "1.5 hours")
    body = await ask(user, q=q)
    assert {video["title"] for video in body["videos"]} == found
    assert body["pagination"]["total"] == len(found)


async def test_a_search_pages_like_any_list(user: Person) -> None:
    await add_rows(user, 30)
    await add_row(user, "Something else", filename="x.mov")
    body = await ask(user, q="clip", limit=7, sort="title")
    assert (body["pagination"]["total"], body["pagination"]["total_pages"]) == (30, 5)
    assert len({row["id"] for row in await walk(user, q="clip", limit=7, sort="title")}) == 30


async def test_the_search_follows_a_new_title(user: Person) -> None:
    video_id = await add_row(user, "Before")
    await user.client.patch(f"/api/videos/{video_id}", json={"title": "After"})
    assert await titles(user, q="before") == []
    assert await titles(user, q="after") == ["After"]


# --- how the database does it ----------------------------------------------------------------------------------------


async def plans(actor: Any, query: VideoQuery) -> tuple[listing.VideoPage, list[str]]:
    """A page, and the plan of each statement that made it."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        async with transaction() as session:
            page = await listing.list_videos(session, actor=actor, query=query)
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)
    async with database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        return page, [
            "\n".join(row[0] for row in await driver.fetch(f"EXPLAIN {sql}", *given)) for sql, given in statements
        ]


async def test_pages_come_from_an_index_and_totals_from_counters(user: Person, other: Person) -> None:
    await add_rows(user, 3000)
    await add_rows(other, 500)
    async with transaction() as session:
        await session.execute(text("ANALYZE videos"))
    actor: Any = SimpleNamespace(project_ids=(await project_of(user),))
    for sort, index in (
        ("created_at", "ix_videos_recent"),
        ("title", "ix_videos_title"),
        ("duration", "ix_videos_duration"),
        ("size", "ix_videos_size"),
    ):
        first, (explained,) = await plans(actor, VideoQuery(sort=sort))
        assert "video_counts" in explained
        assert f"using {index}" in explained
        assert "Sort" not in explained
        _, (explained,) = await plans(actor, VideoQuery(sort=sort, cursor=first.next_cursor))
        assert f"using {index}" in explained
        assert "ROW(" in explained
        assert "Sort" not in explained
        assert "Filter: (ROW" not in explained
    _, (explained,) = await plans(actor, VideoQuery(status=VideoStatus.COMPLETED))
    assert "Sort" not in explained
    *_, explained = (await plans(actor, VideoQuery(q="clip9999")))[1]
    assert "Bitmap Index Scan on ix_videos_search" in explained


async def test_what_very_many_have_is_counted_roughly_and_shown_from_the_orders_index(user: Person) -> None:
    ids = await add_rows(user, 2500)
    await add_rows(user, 500, title="Something else", filename="x.mov")
    for sort in ("created_at", "title"):
        body = await ask(user, q="clip", sort=sort, limit=100)
        assert 1500 < body["pagination"]["total"] <= 3000
        rows = await walk(user, q="clip", sort=sort, limit=100)
        assert sorted(row["id"] for row in rows) == sorted(ids)
        for page in (1, 2, 25, 26):
            body = await ask(user, q="clip", sort=sort, limit=100, page=page)
            assert body["videos"] == rows[(page - 1) * 100 : page * 100]
    actor: Any = SimpleNamespace(project_ids=(await project_of(user),))
    found, explained = await plans(actor, VideoQuery(q="clip", sort="title"))
    assert not found.exact
    assert "using ix_videos_title" in explained[-1]
    found, _ = await plans(actor, VideoQuery(q="clip 77"))
    assert (found.total, found.exact) == (11, True)


async def test_several_projects_make_one_list(user: Person, other: Person) -> None:
    mine = await add_rows(user, 700)
    theirs = await add_rows(other, 650)
    actor: Any = SimpleNamespace(project_ids=(await project_of(user), await project_of(other)))
    for query in ({}, {"q": "clip"}, {"q": "clip 7"}, {"status": VideoStatus.COMPLETED}, {"source": "upload"}):
        for sort in ("created_at", "title"):
            shown: list[Any] = []
            cursor = None
            while cursor or not shown:
                async with transaction() as session:
                    asked = VideoQuery(sort=sort, limit=100, cursor=cursor, **query)
                    page = await listing.list_videos(session, actor=actor, query=asked)
                shown += [row.id for row in page.items]
                cursor = page.next_cursor
            for number in (1, 7, page.total // 100 + 1):
                async with transaction() as session:
                    asked = VideoQuery(sort=sort, limit=100, page=number, **query)
                    page = await listing.list_videos(session, actor=actor, query=asked)
                assert [row.id for row in page.items] == shown[(number - 1) * 100 : number * 100]
            if query.get("q") != "clip 7":
                assert sorted(str(each) for each in shown) == sorted(mine + theirs)
            assert len(shown) == len(set(shown))
            assert page.total == min(len(shown), listing.MOST_COUNTED if "source" in query else 10**9)


async def test_one_project_is_searched_without_what_others_have(user: Person, other: Person) -> None:
    await add_row(user, "Lighthouse")
    await add_rows(other, 30, title="Lighthouse")
    assert await titles(user, q="light") == ["Lighthouse"]


# --- the dashboard's numbers -----------------------------------------------------------------------------------------


async def test_stats_tell_what_is_there(user: Person, other: Person) -> None:
    actor: Any = SimpleNamespace(project_ids=(await project_of(user),))
    async with transaction() as session:
        nothing = await listing.stats(session, actor=actor)
    assert (nothing.total, nothing.size_bytes, nothing.mean_processing_seconds) == (0, 0, None)
    await add_row(user, status=VideoStatus.FAILED, size_bytes=5)
    gone = await add_row(user, status=VideoStatus.COMPLETED, size_bytes=50)
    await add_row(user, status=VideoStatus.PROCESSING, size_bytes=7)
    await add_row(other, size_bytes=1000)
    await user.client.delete(f"/api/videos/{gone}")
    async with transaction() as session:
        stats = await listing.stats(session, actor=actor)
    assert (stats.total, stats.size_bytes, stats.processing, stats.failed) == (2, 12, 1, 1)
    assert stats.added_last_7_days == 0
    both: Any = SimpleNamespace(project_ids=(await project_of(user), await project_of(other)))
    nobody: Any = SimpleNamespace(project_ids=())
    async with transaction() as session:
        together = await listing.stats(session, actor=both)
        nothing = await listing.stats(session, actor=nobody)
    assert (together.total, together.size_bytes, together.processing, together.failed) == (3, 1012, 1, 1)
    assert (nothing.total, nothing.size_bytes) == (0, 0)


# --- the older address -----------------------------------------------------------------------------------------------


async def test_the_older_address_lists_for_programs_and_sends_browsers_to_the_library(user: Person) -> None:
    video_id = await add_row(user)
    assert (await user.client.get("/videos")).json() == await ask(user)
    one = await user.client.get(f"/videos/{video_id}", headers={"Accept": "application/json"})
    assert one.json()["id"] == video_id
    page = await user.browser.get("/videos")
    assert (page.status_code, page.headers["location"]) == (303, "/dashboard")
    user.client.headers.pop("Authorization")
    assert (await user.client.get("/videos")).status_code == 401
