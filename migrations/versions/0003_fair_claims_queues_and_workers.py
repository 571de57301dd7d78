"""Fair claims, queues that can be paused, workers, and what an attempt noted"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "queues",
        sa.Column("name", sa.String(length=30), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_by", sa.String(length=320), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_queues")),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=60), nullable=False),
        sa.Column("queues", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("kinds", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("slots", sa.SmallInteger(), nullable=False),
        sa.Column("running", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("load", sa.Double(), server_default="0", nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("gpus", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_index(op.f("ix_workers_last_seen_at"), "workers", ["last_seen_at"])
    op.create_index(op.f("ix_workers_name"), "workers", ["name"])
    op.add_column("job_attempts", sa.Column("log_tail", sa.Text(), nullable=True))
    op.add_column("job_attempts", sa.Column("command", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("required", sa.Boolean(), server_default="false", nullable=False))
    op.create_index("ix_jobs_parent_id", "jobs", ["parent_id"], postgresql_where="parent_id IS NOT NULL")
    op.create_index(
        "ix_jobs_turn",
        "jobs",
        ["queue", "priority", "project_id", "run_at", "id"],
        postgresql_where="state = 'queued'",
    )
    # Claims look at these priorities and no others.
    op.execute("UPDATE jobs SET priority = least(greatest(priority, 1), 3) WHERE priority NOT BETWEEN 1 AND 3")
    op.create_check_constraint(op.f("ck_jobs_priority"), "jobs", "priority BETWEEN 1 AND 3")
    op.add_column("projects", sa.Column("weight", sa.Double(), server_default="1", nullable=False))
    op.create_check_constraint(op.f("ck_projects_weight"), "projects", "weight BETWEEN 0.01 AND 100")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_projects_weight"), "projects")
    op.drop_column("projects", "weight")
    op.drop_constraint(op.f("ck_jobs_priority"), "jobs")
    op.drop_index("ix_jobs_turn", "jobs")
    op.drop_index("ix_jobs_parent_id", "jobs")
    op.drop_column("jobs", "required")
    op.drop_column("job_attempts", "command")
    op.drop_column("job_attempts", "log_tail")
    op.drop_table("workers")
    op.drop_table("queues")
