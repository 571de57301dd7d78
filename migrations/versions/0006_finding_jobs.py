"""Finding jobs by their error and by the request that queued them"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("ix_jobs_error_code", "jobs", ["error_code"], postgresql_where="error_code IS NOT NULL")
    op.create_index("ix_jobs_request_id", "jobs", ["request_id"], postgresql_where="request_id <> ''")


def downgrade() -> None:
    op.drop_index("ix_jobs_request_id", "jobs")
    op.drop_index("ix_jobs_error_code", "jobs")
