"""Families of jobs, and which request queued a job"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("unsettled", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("jobs", sa.Column("request_id", sa.String(length=64), server_default="", nullable=False))
    op.create_check_constraint(op.f("ck_jobs_unsettled"), "jobs", "state = 'completed' OR NOT unsettled")
    op.create_index("ix_jobs_unsettled", "jobs", ["id"], postgresql_where="unsettled")


def downgrade() -> None:
    op.drop_index("ix_jobs_unsettled", "jobs")
    op.drop_constraint(op.f("ck_jobs_unsettled"), "jobs")
    op.drop_column("jobs", "request_id")
    op.drop_column("jobs", "unsettled")
