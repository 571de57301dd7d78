"""Structured logs: events with fields, request and job ids from the context. Never tokens, signed URLs or prompts."""

import logging
import sys

import structlog

from backend.config import settings


def configure(level: str | None = None) -> None:
    """Set up structlog and the standard library's loggers for this process; JSON lines or a readable console.

    `level` is another than LOG_LEVEL, for a command whose output is for people.
    """
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        # Plain: the other formatters print the variables of each frame, and secrets with them.
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level or settings.log_level)
    for noisy in ("uvicorn.access", "botocore", "boto3", "urllib3", "httpx", "httpcore", "arq.worker"):  # signed URLs
        logging.getLogger(noisy).setLevel(logging.WARNING)
