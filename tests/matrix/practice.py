"""A practice session of a project, with an analysis of its video."""

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from backend.coaching.models import Analysis, CoachSession
from backend.coaching.options import AnalysisOptions

#: Rows by the names of `kind_of` in tests/test_matrix.py.
PRACTICE: Mapping[str, Any] = {"coach_session_id": CoachSession, "analysis_id": Analysis}


async def add_practice(session: AsyncSession, project: uuid.UUID, owner: uuid.UUID, ids: dict[str, uuid.UUID]) -> None:
    """Of these ids."""
    session.add(CoachSession(id=ids["coach_session_id"], project_id=project, owner_id=owner, title="Nets"))
    await session.flush()
    session.add(
        Analysis(
            id=ids["analysis_id"],
            project_id=project,
            session_id=ids["coach_session_id"],
            owner_id=owner,
            video_id=ids["video_id"],
            job_id=ids["job_id"],
            options=AnalysisOptions().to_json(),
            s3_bucket="bucket",
            s3_key=f"coach_plus/{uuid.uuid4()}",
        )
    )
    await session.flush()
