"""Practice sessions and analyses"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0016"
down_revision = "0015"

_time = sa.DateTime(timezone=True)


def _common(table: str) -> list[sa.Column[object] | sa.Constraint]:
    return [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid()),
        sa.Column("created_at", _time, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", _time, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        sa.UniqueConstraint("project_id", "id", name=f"uq_{table}_project_id_id"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=f"fk_{table}_project_id_projects", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=f"fk_{table}_owner_id_users", ondelete="SET NULL"),
    ]


def upgrade() -> None:
    op.create_table(
        "coach_sessions",
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("notes", sa.String(5000), server_default="", nullable=False),
        sa.Column("player_ids", ARRAY(sa.String(100)), server_default="{}", nullable=False),
        sa.Column("view", sa.String(20), server_default="unknown", nullable=False),
        sa.Column("discipline", sa.String(20), server_default="general", nullable=False),
        *_common("coach_sessions"),
    )
    recent = ["project_id", sa.text("created_at DESC"), sa.text("id DESC")]
    op.create_index("ix_coach_sessions_recent", "coach_sessions", recent)
    op.create_index("ix_coach_sessions_player_ids", "coach_sessions", ["player_ids"], postgresql_using="gin")
    op.create_unique_constraint("uq_uploads_project_id_id", "uploads", ["project_id", "id"])
    op.create_table(
        "coach_analyses",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("upload_id", sa.Uuid()),
        sa.Column("video_id", sa.Uuid()),
        sa.Column("job_id", sa.Uuid()),
        sa.Column("sqs_message_id", sa.String(100)),
        sa.Column("options", JSONB(), nullable=False),
        sa.Column("s3_bucket", sa.String(255), nullable=False),
        sa.Column("s3_key", sa.String(1024), nullable=False),
        sa.Column("summary", JSONB()),
        sa.Column("metrics", JSONB()),
        sa.Column("files", JSONB()),
        sa.Column("completed_at", _time),
        *_common("coach_analyses"),
        sa.ForeignKeyConstraint(
            ["project_id", "session_id"],
            ["coach_sessions.project_id", "coach_sessions.id"],
            name="fk_coach_analyses_project_id_session_id_coach_sessions",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "video_id"],
            ["videos.project_id", "videos.id"],
            name="fk_coach_analyses_project_id_video_id_videos",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "job_id"],
            ["jobs.project_id", "jobs.id"],
            name="fk_coach_analyses_project_id_job_id_jobs",
            ondelete="SET NULL (job_id)",
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "upload_id"],
            ["uploads.project_id", "uploads.id"],
            name="fk_coach_analyses_project_id_upload_id_uploads",
            ondelete="SET NULL (upload_id)",
        ),
    )
    table = "coach_analyses"
    op.create_index("ix_coach_analyses_session_id", table, ["session_id", "created_at", "id"])
    for column in ("video_id", "upload_id", "job_id"):
        there = f"{column} IS NOT NULL"
        op.create_index(f"ix_coach_analyses_{column}", table, [column], postgresql_where=there)


def downgrade() -> None:
    op.drop_table("coach_analyses")
    op.drop_table("coach_sessions")
    op.drop_constraint("uq_uploads_project_id_id", "uploads")
