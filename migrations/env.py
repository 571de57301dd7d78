"""Runs migrations over the same driver and settings as the application."""

import asyncio
import importlib

from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from backend.config import settings
from backend.core.db import Base

for domain in ("accounts", "orgs", "webhooks", "jobs", "videos", "generation", "coaching"):
    importlib.import_module(f"backend.{domain}.models")
importlib.import_module("backend.core.capabilities")
importlib.import_module("backend.core.idempotent_requests")
importlib.import_module("backend.generation.delivery_models")


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


async def main() -> None:
    engine = create_async_engine(settings.database_url.get_secret_value(), poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


asyncio.run(main())
