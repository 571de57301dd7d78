"""Callbacks of tasks, and a project's CMS"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"

_time = sa.DateTime(timezone=True)


def _of_a_generation(table: str) -> list[sa.ForeignKeyConstraint]:
    return [
        sa.ForeignKeyConstraint(
            ["generation_id"], ["generations.id"], name=f"fk_{table}_generation_id_generations", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=f"fk_{table}_job_id_jobs", ondelete="SET NULL"),
    ]


def upgrade() -> None:
    op.create_table(
        "task_callbacks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("generation_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid()),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("body", JSONB(), nullable=False),
        sa.Column("created_at", _time, server_default=sa.func.clock_timestamp(), nullable=False),
        sa.Column("delivered_at", _time),
        sa.Column("answer_status", sa.SmallInteger()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_task_callbacks"),
        *_of_a_generation("task_callbacks"),
    )
    op.create_index("ix_task_callbacks_generation_id", "task_callbacks", ["generation_id", "created_at"])
    op.create_index("ix_task_callbacks_job_id", "task_callbacks", ["job_id"], postgresql_where="job_id IS NOT NULL")
    op.create_table(
        "cms_targets",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("collection", sa.String(100), nullable=False),
        sa.Column("key_collection", sa.String(100), server_default="users", nullable=False),
        sa.Column("api_key", sa.LargeBinary(), nullable=False),
        sa.Column("mode", sa.String(10), server_default="link", nullable=False),
        sa.Column("created_at", _time, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", _time, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", name="pk_cms_targets"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_cms_targets_project_id_projects", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "cms_syncs",
        sa.Column("generation_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid()),
        sa.Column("document_id", sa.String(200)),
        sa.Column("error", sa.Text()),
        sa.Column("synced_at", _time),
        sa.Column("created_at", _time, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", _time, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("generation_id", name="pk_cms_syncs"),
        *_of_a_generation("cms_syncs"),
    )
    op.create_index("ix_cms_syncs_job_id", "cms_syncs", ["job_id"], postgresql_where="job_id IS NOT NULL")


def downgrade() -> None:
    for table in ("cms_syncs", "cms_targets", "task_callbacks"):
        op.drop_table(table)
