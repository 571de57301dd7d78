"""A million videos, a hundred thousand of them one person's, made once for all the benchmarks that look at them.

They lie as they would have come: everybody's mixed, so that a page of one person's is as many blocks of the disk.
"""

import asyncio
import os
import uuid
from dataclasses import dataclass

import asyncpg
import httpx

from bench.place import Place, Process

#: What one web process needs to be told while a benchmark lasts: tokens that outlive it.
SETTINGS = {"ACCESS_TOKEN_MINUTES": "600"}
EMAIL, PASSWORD = "million@example.org", "one of a hundred thousand"
VIDEOS, TINY = 1_000_000, 5_000
#: Of each so many videos one is the person's.
SHARE = 10
#: How many others have the rest.
OTHERS = 900
#: Processed by jobs that are still there: the dashboard tells how long they took.
WITH_JOBS = 200

#: Words that are looked for, and of how many of the person's videos one has them in its title. A quarter of everybody
#: else's, too, are called as the last, which the person has hardly used.
COMMON, SOME, RARE, OF_OTHERS = ("interview", 4), ("harbour", 200), ("xylophone", 5_000), ("lighthouse", 10_000)

_OTHERS = """
WITH made AS (
    INSERT INTO users (id, email, email_key, password_hash)
    SELECT gen_random_uuid(), 'other' || n || '@example.org', 'other' || n || '@example.org', '!'
    FROM generate_series(1, $1) AS n RETURNING id
), theirs AS (
    INSERT INTO projects (id, name, owner_id, personal) SELECT gen_random_uuid(), 'Personal', id, true FROM made
    RETURNING id, owner_id
)
INSERT INTO project_members (project_id, user_id, role) SELECT id, owner_id, 'owner' FROM theirs RETURNING project_id
"""
#: Of the n-th video in time; every tenth is the person's, `m` counts those. What looks random is the same each time.
_VIDEOS = f"""
INSERT INTO videos (id, project_id, owner_id, title, description, status, source, filename, content_type, size_bytes,
    s3_key, poster_key, preview_key, preview, playable, container, duration, width, height, coded_width, coded_height,
    rotation, fps, vfr, bit_depth, video_codec, audio_codec, has_audio, job_id, created_at, updated_at, completed_at)
SELECT id, whose.project_id, whose.owner_id,
    word(n) || ' ' || word(n + 7) || CASE
        WHEN m % {RARE[1]} = 0 THEN ' {RARE[0]}' WHEN m % {SOME[1]} = 0 THEN ' {SOME[0]}'
        WHEN m % {COMMON[1]} = 1 THEN ' {COMMON[0]}'
        WHEN m % CASE WHEN mine THEN {OF_OTHERS[1]} ELSE 4 END = 3 THEN ' {OF_OTHERS[0]}' ELSE '' END
        || ' ' || word(n * 3),
    'Take ' || n % 20 || ', ' || word(n * 11) || ' ' || word(n * 13) || ' ' || word(n * 17), status, 'upload',
    'clip-' || n || '.mp4', 'video/mp4', 1000000 + hashint8(n) % 900000,
    'originals/' || whose.project_id || '/' || id || '.mp4',
    CASE WHEN status = 'completed' THEN 'posters/' || id || '/1.jpg' END,
    CASE WHEN status = 'completed' THEN 'previews/' || id || '/1.jpg' END,
    '{{"columns": 10, "rows": 5, "count": 50, "tile_width": 160, "tile_height": 90, "interval": 1.2}}'::jsonb,
    true, 'mp4', 60 + (hashint8(n) % 5000) / 100.0, 1280, 720, 1280, 720, 0, 25, false, 8, 'h264', 'aac', true,
    gen_random_uuid(), at, at, CASE WHEN status = 'completed' THEN at + interval '20 s' END
FROM (
    SELECT n, gen_random_uuid() AS id, CASE WHEN n % {SHARE} = 0 THEN n / {SHARE} ELSE n END AS m,
        now() - ($4 - n) * interval '30 s' AS at, n % {SHARE} = 0 AS mine,
        CASE WHEN hashint8(n + 1) % 50 = 0 THEN 'failed' ELSE 'completed' END AS status
    FROM generate_series($5::bigint, $6::bigint) AS n
) AS videos
CROSS JOIN LATERAL (SELECT
    CASE WHEN mine THEN $1::uuid ELSE ($3::uuid[])[1 + n % cardinality($3::uuid[])] END AS project_id,
    CASE WHEN mine THEN $2::uuid END AS owner_id
) AS whose
"""  # noqa: S608
_WORD = """
CREATE FUNCTION word(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT translate(substr(md5((hashint8(n) % 4000)::text), 1, 7), '0123456789', 'ghijklmnop') $$
"""
_JOBS = """
INSERT INTO jobs (id, kind, queue, project_id, owner_id, video_id, state, attempt, started_at, finished_at)
SELECT job_id, 'process_video', 'media', project_id, owner_id, id, 'completed', 1, created_at + interval '1 s',
    completed_at
FROM videos WHERE project_id = $1 AND status = 'completed' ORDER BY created_at DESC LIMIT $2
"""
_STEP = 20_000
_INDEXES = """
SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS made FROM pg_index
WHERE indrelid = 'videos'::regclass AND NOT indisunique
"""
_FOREIGN_KEYS = """
SELECT conname AS name, pg_get_constraintdef(oid) AS made FROM pg_constraint
WHERE conrelid = 'videos'::regclass AND contype = 'f'
"""


@dataclass(frozen=True)
class Person:
    """Whose the hundred thousand are, signed in by a token and by a cookie."""

    user_id: uuid.UUID
    project_id: uuid.UUID
    token: str
    cookie: dict[str, str]
    videos: int


async def somebody(place: Place, web: Process) -> Person:
    """The person with the many videos; all rows are made when they are first asked for."""
    async with httpx.AsyncClient(base_url=web.url, timeout=60) as client:
        who = {"email": EMAIL, "password": PASSWORD}
        answer = await client.post("/api/auth/login", json=who)
        new = answer.status_code == 401
        if new:
            answer = await client.post("/api/auth/register", json=who)
        answer.raise_for_status()
        signed_in = answer.json()
        origin = {"Origin": web.url, "Sec-Fetch-Site": "same-origin"}
        await client.post("/login", data=who, headers=origin)
        cookie = dict(client.cookies)
    user_id = uuid.UUID(signed_in["user"]["id"])
    database = await asyncpg.connect(database_url(place), command_timeout=1200)
    try:
        project_id = await database.fetchval("SELECT id FROM projects WHERE owner_id = $1 AND personal", user_id)
        if new:
            await _fill(place, database, user_id, project_id)
        videos = await database.fetchval("SELECT count(*) FROM videos WHERE project_id = $1", project_id)
    finally:
        await database.close()
    return Person(user_id, project_id, signed_in["token"], cookie, videos)


def database_url(place: Place) -> str:
    """Of the product's role, for asyncpg."""
    return place.stack.env()["DATABASE_URL"].replace("+asyncpg", "")


async def _fill(place: Place, database: asyncpg.Connection, user_id: uuid.UUID, project_id: uuid.UUID) -> None:
    videos = place.size(VIDEOS, TINY)
    place.say(f"making {videos:,} videos")
    await database.execute("SET maintenance_work_mem = '512MB'")
    others = [row["project_id"] for row in await database.fetch(_OTHERS, place.size(OTHERS, 5))]
    # Many rows at once are put in faster without indexes and foreign keys, which are then made for all of them.
    indexes, keys = await database.fetch(_INDEXES), await database.fetch(_FOREIGN_KEYS)
    for index in indexes:
        await database.execute(f"DROP INDEX {index['name']}")
    for key in keys:
        await database.execute(f"ALTER TABLE videos DROP CONSTRAINT {key['name']}")
    await database.execute(_WORD)
    steps = [(first, min(first + _STEP - 1, videos)) for first in range(1, videos + 1, _STEP)]
    whose = project_id, user_id, others, videos
    await asyncio.gather(*(_insert(place, whose, steps) for _ in range(os.cpu_count() or 1)))
    await database.execute("DROP FUNCTION word")
    await database.execute(_JOBS, project_id, WITH_JOBS)
    for index in indexes:
        await database.execute(index["made"])
    for key in keys:
        await database.execute(f"ALTER TABLE videos ADD CONSTRAINT {key['name']} {key['made']}")
    await database.execute("VACUUM (ANALYZE) videos")
    await database.execute("VACUUM (ANALYZE) video_counts")


async def _insert(place: Place, whose: tuple[object, ...], steps: list[tuple[int, int]]) -> None:
    """Some of them, on a connection of its own: Postgres has a core for each."""
    database = await asyncpg.connect(database_url(place), command_timeout=1200)
    try:
        while steps:
            await database.execute(_VIDEOS, *whose, *steps.pop(0))
    finally:
        await database.close()
