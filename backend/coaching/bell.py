"""Ringing for an analysis with what its message says to others; SQS's id of that message is kept."""

import structlog
from sqlalchemy import update

from backend.coaching.models import Analysis
from backend.core.db import transaction
from backend.core.queue import doorbell

log = structlog.get_logger(__name__)

QUEUE = "analysis"


async def ring(analysis: Analysis) -> None:
    """After the commit that queued it. May raise: the bell is rung again, and workers look by themselves."""
    words = {
        "session_id": str(analysis.session_id),
        "sample_fps": analysis.options["sample_fps"],
        "include_frames": analysis.options["include_frames"],
        "s3_bucket": analysis.s3_bucket,
        "s3_key": analysis.s3_key,
    }
    message_id = await doorbell.tell(analysis.id, QUEUE, words)
    if message_id is not None:
        async with transaction() as session:
            kept = update(Analysis).where(Analysis.id == analysis.id).values(sqs_message_id=message_id)
            await session.execute(kept)
