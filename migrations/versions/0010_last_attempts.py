"""Finding jobs before their last attempt"""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    where = "state = 'queued' AND attempt > 0 AND attempt + 1 >= max_attempts"
    op.create_index("ix_jobs_last_attempt", "jobs", ["queue", "run_at"], postgresql_where=where)


def downgrade() -> None:
    op.drop_index("ix_jobs_last_attempt", "jobs")
