"""Results on pages of their own: two side by side, and a report to print."""

import uuid
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request, Response

from backend.coaching import access, analyses, results, service, words
from backend.coaching.schemas import AnalysisDetailOut
from backend.core.db import transaction
from backend.core.errors import NotFound
from backend.core.web import render
from backend.orgs.access import PageActor, visible
from backend.videos.models import Video

router = APIRouter(prefix="/sessions/{session_id}", include_in_schema=False)


class Row(NamedTuple):
    """A metric of both; dashes where there is none."""

    label: str
    left: str
    right: str
    difference: str


@router.get("/compare")
async def compare(
    request: Request,
    session_id: uuid.UUID,
    actor: PageActor,
    left: Annotated[uuid.UUID, Query()],
    right: Annotated[uuid.UUID, Query()],
) -> Response:
    """Two analyses of the session, in step."""
    async with transaction() as session:
        found = await access.session_of(session, actor, session_id)
        sides = [await analyses.shown_whole(session, actor=actor, analysis_id=each) for each in (left, right)]
        if any(side.session_id != session_id or side.summary is None for side in sides):
            raise NotFound(access.NO_ANALYSIS)
        named = visible(Video, actor).where(Video.id.in_([side.video_id for side in sides]))
        titles = {video.id: video.title for video in await session.scalars(named)}
        shown = await service.public(session, actor=actor, found=found)
    return render(
        request,
        "coaching/compare.html",
        page="sessions",
        session=shown,
        sides=sides,
        titles=titles,
        rows=_rows(*sides),
    )


def _rows(left: AnalysisDetailOut, right: AnalysisDetailOut) -> list[Row]:
    of: list[dict[str, Any]] = [
        {metric["name"]: metric for metric in (side.summary or {}).get("metrics", [])} for side in (left, right)
    ]
    rows = []
    for name, metric in of[0].items():
        one, other, unit = metric["value"], of[1].get(name, {}).get("value"), metric["unit"]
        if one is None and other is None:
            continue
        both = one is not None and other is not None
        rows.append(
            Row(
                metric["label"],
                "–" if one is None else words.amount(one, unit),
                "–" if other is None else words.amount(other, unit),
                words.amount(other - one, unit, signed=True) if both else "–",
            )
        )
    return rows


@router.get("/report")
async def report(
    request: Request, session_id: uuid.UUID, actor: PageActor, analysis: Annotated[uuid.UUID, Query()]
) -> Response:
    """An analysis on paper."""
    async with transaction() as session:
        found = await access.session_of(session, actor, session_id)
        row = await access.analysis_of(session, actor, analysis)
        opened = await analyses.shown_whole(session, actor=actor, analysis_id=analysis)
        if row.session_id != session_id or opened.summary is None:
            raise NotFound(access.NO_ANALYSIS)
        named = visible(Video, actor).where(Video.id == row.video_id)
        title = await session.scalar(named.with_only_columns(Video.title))
        shown = await service.public(session, actor=actor, found=found)
    files = (await results.files_of(row)).files
    pictures = [(frame["label"], frame["t"], files.get(frame["file"])) for frame in opened.summary["key_frames"]]
    return render(
        request,
        "coaching/report.html",
        page="sessions",
        session=shown,
        opened=opened,
        video_title=title or "A video",
        pictures=pictures,
    )
