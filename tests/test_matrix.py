"""Everybody asks for everything: what each may, no more and no less, and what is another's is not there at all.

The table of `tests/matrix/table.py` says what every route is for; every route of the application is in it. Each one is
asked by everybody, for what is theirs, for what is another's and for what does not exist.
"""

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI

from backend.app import ADMIN_ROUTERS, ROUTERS
from backend.config import settings
from backend.core.db import transaction
from backend.videos.models import Upload
from tests.matrix.asking import Door, Reply
from tests.matrix.bodies import BODIES, QUERIES
from tests.matrix.rules import Outcome, Route
from tests.matrix.table import CHOICES, PLACES, TABLE
from tests.matrix.things import add_deleted, fresh, fresh_invitation, fresh_member, fresh_place
from tests.matrix.world import Asker, World, digests, make_world, sign_in

#: What an id that cannot be seen is answered with, where it is not 404.
UNSEEN = {"project_id": 422, "organization_id": 422}
#: Statuses that are right although the deed is not done: what is sent is not enough, or nothing is there to read.
ALSO = {
    "POST /api/auth/register": 422,
    "POST /api/auth/login": 422,
    "POST /api/auth/refresh": 422,
    "POST /login": 422,
    "POST /register": 422,
    "POST /settings/password": 422,
    "POST /admin/doctor/browser": 422,
    "POST /api/videos": 422,
    "POST /videos": 422,
    "POST /projects/{project_id}/webhooks": 422,  # twenty are enough
    "POST /logout": 303,
    "POST /generate": 422,  # the quota of the hour
    "POST /generate {project_id}": 422,
    "GET /api/v1/media/{task_id}/{proof}/{file_name}": 404,
    "DELETE /api/v1/tasks/{task_id}/cancel": 400,
    "DELETE /api/projects/{project_id}/cms": 404,
    "POST /api/projects/{project_id}/cms/test": 404,
    "POST /api/projects/{project_id}/cms/syncs/retry": 404,
    "POST /api/coaches/plus/videos/upload/initiate": 404,
    "POST /api/coaches/plus/videos/upload/complete": 404,
    "POST /sessions/{session_id}/analyses": 404,
    "POST /api/coaches/plus/sessions/{session_id}/analysis-jobs": 404,
    "GET /sessions/{session_id}/compare": 404,
    "GET /sessions/{session_id}/report": 404,
    "GET /api/videos/{video_id}/preview.vtt": 404,
    "GET /api/generations/{generation_id}/file": 404,
    "GET /gallery/{generation_id}/file": 404,
    "POST /projects/{project_id}/cms/test": 404,
    "POST /projects/{project_id}/cms/retry": 404,
    "POST /projects/{project_id}/cms/delete": 404,
    "GET /api/generations/{generation_id}/preview": 404,
    "GET /api/videos/{video_id}/hls/master.m3u8": 404,
    "GET /api/videos/{video_id}/hls/{rung}.m3u8": 404,
}
#: They are asked one after the other, each by a session of its own.
ENDS_SESSIONS = {
    "POST /api/auth/logout",
    "POST /logout",
    "POST /settings/sessions/revoke-others",
    "POST /settings/sessions/{session_id}/revoke",
}


def walked(app: FastAPI) -> set[str]:
    """Every route that the application answers, as `METHOD /path`."""
    routes = [*app.routes, *(route for router in (*ROUTERS, *ADMIN_ROUTERS) for route in router.routes)]
    return {
        f"{method} {path}"
        for route in routes
        if (path := getattr(route, "path", ""))
        for method in (getattr(route, "methods", None) or set()) - {"HEAD"}
    }


def test_every_route_is_in_the_table_and_nothing_else(app: FastAPI) -> None:
    said = {str(route) for route in TABLE if not route.inside}
    there = walked(app)
    assert len(there) > 100
    assert there - said == set(), "say whom these routes are open to"
    assert said - there == set(), "these routes are gone"
    described = {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}
    assert described <= {each.replace(":path}", "}") for each in there}


@dataclass(frozen=True)
class Probe:
    """One request to come: by whom, for what, and how it has to end."""

    asker: Asker
    route: Route
    place: str  #: own, foreign or missing: what its place is, or its object where it names no place
    thing: str  #: the same, and `elsewhere`, for what is in the place
    html: bool
    expected: Outcome

    def __str__(self) -> str:
        return f"{self.asker.name}: {self.route} ({self.place}, {self.thing}{', html' if self.html else ''})"


def variants(route: Route) -> list[tuple[str, str]]:
    """What can be asked for: of the place, and of the thing in it."""
    names = [name for name in route.names if name not in CHOICES]
    if route.inside:
        return [("own", side) for side in ("own", "foreign", "missing")]
    if not names:
        return [("own", "own")]
    if names == ["token"]:
        return [("own", "own"), ("missing", "missing")]
    sides = [(side, side) for side in ("own", "foreign", "missing")]
    if len(names) > 1:
        sides += [("own", side) for side in ("elsewhere", "foreign", "missing")]
    return sides


def expected(asker: Asker, route: Route, place: str, thing: str, html: bool, world: World) -> Outcome:
    """What the table says of it."""
    rule = TABLE[route]
    if rule.who == "public" or (html and str(route) == "GET /videos"):
        return Outcome.ALLOWED
    if rule.who == "token":
        return Outcome.MISSING if "storage" in route.path else Outcome.FORBIDDEN
    if rule.who == "guest" and not (asker.valid and asker.key):
        return Outcome.ALLOWED
    if rule.who == "holder" and not asker.valid:
        return Outcome.ALLOWED if thing == "own" else Outcome.MISSING
    if not asker.valid:
        return Outcome.UNAUTHENTICATED
    if asker.key and rule.who != "anybody":
        return Outcome.FORBIDDEN
    if rule.who in ("admin", "auditor"):
        if asker.platform not in ("admin", rule.who):
            return Outcome.FORBIDDEN
        return Outcome.MISSING if thing == "missing" else Outcome.ALLOWED
    if rule.who in ("link", "holder", "account"):
        return Outcome.ALLOWED if thing == "own" else Outcome.MISSING
    if not rule.needs:
        return Outcome.ALLOWED
    if not route.names and not route.inside:
        return Outcome.ALLOWED if rule.needs in asker.permissions(asker.home) else Outcome.FORBIDDEN
    organization = "organization_id" in (*route.names, route.inside)
    held = asker.permissions(world.organization if organization else world.project)
    if place != "own" or "view" not in held:
        return Outcome.MISSING
    if route.inside and thing != "own":
        return Outcome.MISSING
    if rule.needs not in held:
        return Outcome.FORBIDDEN
    return Outcome.ALLOWED if thing == "own" else Outcome.MISSING


def all_probes(app: FastAPI, world: World) -> Iterator[Probe]:
    """Pages are asked for as browsers do, the API as programs do, and what is both as both do."""
    described = {route for route in TABLE if route.method.lower() in app.openapi()["paths"].get(route.path, {})}
    for route in TABLE:
        for asker in world.askers:
            for place, thing in variants(route):
                if thing == "elsewhere" and route.names[:2] == ["organization_id", "user_id"]:
                    continue  # the organization is one
                for html in (False,) if route.is_api else (False, True) if route in described else (True,):
                    yield Probe(asker, route, place, thing, html, expected(asker, route, place, thing, html, world))


def kind_of(route: Route, name: str) -> str:
    """What the world calls a thing that goes by another name in the paths of coaching."""
    if route.path.startswith(("/sessions", "/api/coaches/")):
        return {"session_id": "coach_session_id", "job_id": "analysis_id"}.get(name, name)
    return name


def find(world: World, probe: Probe, name: str, side: str) -> str:
    """The id of what is asked for."""
    name = kind_of(probe.route, name)
    if name in CHOICES:
        return CHOICES[name]
    if side == "missing":
        return str(uuid.uuid4())
    if name == "token":
        return str(world.ids[side]["invitation_id"])
    if name == "session_id":
        return str(world.ids["foreign"][name])
    if name == "invitation_id" and "organization_id" in probe.route.names:
        return str(world.ids["own"][name] if side == "elsewhere" else world.ids[side]["org_invitation_id"])
    if name == "video_id" and probe.route.inside == name:
        return str(world.ids[side]["upload_video_id"])
    if probe.route.path.endswith("/restore"):
        return str(world.ids[side][f"deleted_{name}"])
    return str(world.ids[side][name])


async def ask(door: Door, world: World, probe: Probe, ids: dict[str, str]) -> Reply:
    """The answer, and nothing of the ids in it."""
    route, asker = probe.route, probe.asker
    path = route.path.replace(":path}", "}").format(**ids)
    sent = BODIES.get(str(route), BODIES.get(f"{route.method} {route.path}", {}))
    query = QUERIES.get(str(route), "")
    kind, values = next(iter(sent.items()), ("json", {}))
    values = {name: str(asker.home) if value == "HOME" else value for name, value in values.items()}
    if route.inside and route.is_safe:
        query = f"{route.inside}={ids[route.inside]}"
    elif route.inside:
        values[route.inside] = ids[route.inside]
    headers = asker.headers(page=not route.is_api) | {"accept": "text/html" if probe.html else "application/json"}
    body = {kind: values} if values or sent else {}
    reply = await door.ask(route, path, headers=headers, query=query, **body)
    return reply.without([value for name, value in ids.items() if name not in CHOICES])


def outcome_of(probe: Probe, reply: Reply) -> Outcome:
    also = {ALSO.get(str(probe.route)), ALSO.get(f"{probe.route.method} {probe.route.path}")}
    if probe.expected is Outcome.ALLOWED and reply.status in also:
        return Outcome.ALLOWED
    unseen = {404, UNSEEN.get(probe.route.inside, 404)}
    if probe.expected is Outcome.MISSING and probe.route.inside and probe.thing != "own" and reply.status == 403:
        return Outcome.MISSING  # which of the two ids is looked at first is no matter
    return reply.outcome(unseen)


class Findings:
    """What was asked and what was wrong."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.wrong: list[str] = []
        self.leaks: list[str] = []
        self.replies: dict[Probe, Reply] = {}

    def note(self, probe: Probe, reply: Reply) -> None:
        found = outcome_of(probe, reply)
        self.outcomes[found] += 1
        self.replies[probe] = reply
        if found is not probe.expected:
            self.wrong.append(f"{probe}: {reply.status}, not {probe.expected}; {reply.body[-160:]!r}")

    def compare(self) -> None:
        """What is another's, and what is in another place, has to be answered as what does not exist."""
        for probe, reply in self.replies.items():
            if probe.thing in ("foreign", "elsewhere") and probe.expected is not Outcome.ALLOWED:
                place = "missing" if probe.place == "foreign" else probe.place
                missing = Probe(probe.asker, probe.route, place, "missing", probe.html, probe.expected)
                if (there := self.replies[missing]) != reply:
                    self.leaks.append(f"{probe}: {reply.status} {reply.body!r} beside {there.status} {there.body!r}")


async def asked_as_it_is(door: Door, world: World, probe: Probe, findings: Findings) -> None:
    names = [*probe.route.names, *([probe.route.inside] if probe.route.inside else [])]
    named = [name for name in names if name not in CHOICES]
    last = named[-1:] if len(named) > 1 else names
    ids = {name: find(world, probe, name, probe.thing if name in last else probe.place) for name in names}
    findings.note(probe, await ask(door, world, probe, ids))


async def fresh_deed(door: Door, world: World, probe: Probe, findings: Findings) -> None:
    """A deed that is allowed is done to something made for it, and what ends sessions, by a session made for it."""
    route, ids = probe.route, {}
    if str(route) in ENDS_SESSIONS and probe.asker.valid and not probe.asker.key:
        await sign_in(probe.asker)
    names = [*route.names, *([route.inside] if route.inside else [])]
    async with transaction() as session:
        for name in names:
            known = find(world, probe, name, probe.thing)
            place = next((each for each in PLACES if each in route.names), "")
            if name in PLACES and len(names) == 1 and (route.method == "DELETE" or route.path.endswith("/delete")):
                ids[name] = str(await fresh_place(session, name, uuid.UUID(known)))
            elif name in CHOICES or name in PLACES or (name == "user_id" and not place):
                ids[name] = known
            elif name == "user_id":
                ids[name] = str(await fresh_member(session, place, world.ids["own"][place]))
            elif name == "session_id" and "analysis_id" in names:
                ids[name] = known  # the analysis is of this one
            elif kind_of(route, name) == "session_id":
                ids[name] = str(probe.asker.session_id)
            elif name == "token":
                ids[name] = str(await fresh_invitation(session, world.ids["own"]["project_id"]))
            elif name == route.inside == "video_id":
                upload = await fresh(session, "upload_id", world.ids["own"]["upload_id"])
                ids[name] = str((await session.get_one(Upload, upload)).video_id)
            elif route.path.endswith("/restore"):
                ids[name] = str(await add_deleted(session, world.project, name, world.ids["own"][name]))
            else:
                ids[name] = str(await fresh(session, kind_of(route, name), uuid.UUID(known)))
    findings.note(probe, await ask(door, world, probe, ids))


async def test_everybody_gets_what_the_table_says_and_nothing_else(
    app: FastAPI,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)  # a line for each of ten thousand requests helps nobody
    for setting in ("address", "user", "key"):
        monkeypatch.setattr(settings, f"{setting}_requests_per_minute", 0)
    for setting in ("public_uploads_per_minute", "login_attempts_per_minute", "registrations_per_hour"):
        monkeypatch.setattr(settings, setting, 1_000_000)
    begun = time.monotonic()
    world, door, findings = await make_world(), Door(app), Findings()
    probes = list(all_probes(app, world))
    refused = [probe for probe in probes if probe.expected is not Outcome.ALLOWED]
    looks = [probe for probe in probes if probe.expected is Outcome.ALLOWED and probe.route.is_safe]
    deeds = [probe for probe in probes if probe.expected is Outcome.ALLOWED and not probe.route.is_safe]

    before = await digests()
    await asyncio.gather(*(asked_as_it_is(door, world, probe, findings) for probe in refused))
    after_refusals = await digests()
    await asyncio.gather(*(asked_as_it_is(door, world, probe, findings) for probe in looks))
    after_looks = await digests()
    await asyncio.gather(
        *(fresh_deed(door, world, probe, findings) for probe in deeds if str(probe.route) not in ENDS_SESSIONS)
    )
    for probe in deeds:
        if str(probe.route) in ENDS_SESSIONS:
            await fresh_deed(door, world, probe, findings)
    findings.compare()
    with capsys.disabled():
        print(
            f"\nmatrix: {len(TABLE)} routes, {len(world.askers)} askers, {door.asked} probes "
            f"({dict(findings.outcomes)}), {len(findings.wrong)} wrong, {len(findings.leaks)} leaks, "
            f"{time.monotonic() - begun:.0f} s"
        )
    assert findings.leaks[:20] == []
    assert findings.wrong[:20] == []
    assert after_refusals == before, "what was refused has done something"
    assert after_looks == before, "a look has done something"
