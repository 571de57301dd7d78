"""Generations, the pictures they are made from, and what a video says of how it was made"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR

revision = "0014"
down_revision = "0013"

_time = sa.DateTime(timezone=True)
_SEARCH = "to_tsvector('simple'::regconfig, regexp_replace(lower(prompt), '[^[:alnum:]]+', ' ', 'g'))"


def upgrade() -> None:
    op.add_column("videos", sa.Column("prompt", sa.Text()))
    op.add_column("videos", sa.Column("orientation", sa.String(10)))
    op.add_column("videos", sa.Column("model_used", sa.String(200)))
    op.create_table(
        "generations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid()),
        sa.Column("door", sa.String(10), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("task_type", sa.String(40)),
        sa.Column("prompt", sa.Text(), server_default="", nullable=False),
        sa.Column("spec", JSONB(), server_default="{}", nullable=False),
        sa.Column("task_data", JSONB()),
        sa.Column("metadata", JSONB()),
        sa.Column("callback_url", sa.String(2000)),
        sa.Column("provider", sa.String(30), nullable=False),
        sa.Column("starts", ARRAY(_time), server_default=sa.text("ARRAY[now()]"), nullable=False),
        sa.Column("submitted_at", _time),
        sa.Column("external_id", sa.Text()),
        sa.Column("external_detail", JSONB()),
        sa.Column("needs_review", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("job_id", sa.Uuid()),
        sa.Column("video_id", sa.Uuid()),
        sa.Column("model_used", sa.String(200)),
        sa.Column("seed_used", sa.BigInteger()),
        sa.Column("s3_key", sa.String(1024)),
        sa.Column("content_type", sa.String(100)),
        sa.Column("size_bytes", sa.BigInteger()),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("duration", sa.Float()),
        sa.Column("deleted_at", _time),
        sa.Column("search", TSVECTOR(), sa.Computed(_SEARCH, persisted=True)),
        sa.Column("created_at", _time, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", _time, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_generations"),
        sa.UniqueConstraint("project_id", "id", name="uq_generations_project_id_id"),
        sa.UniqueConstraint("s3_key", name="uq_generations_s3_key"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_generations_project_id_projects", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name="fk_generations_owner_id_users", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["project_id", "job_id"],
            ["jobs.project_id", "jobs.id"],
            name="fk_generations_project_id_job_id_jobs",
            ondelete="SET NULL (job_id)",
            onupdate="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "video_id"],
            ["videos.project_id", "videos.id"],
            name="fk_generations_project_id_video_id_videos",
            ondelete="SET NULL (video_id)",
            onupdate="CASCADE",
        ),
    )
    table = "generations"
    op.create_index(
        "ix_generations_recent", table, ["project_id", "created_at", "id"], postgresql_where="deleted_at IS NULL"
    )
    op.create_index("ix_generations_job_id", table, ["job_id"], unique=True, postgresql_where="job_id IS NOT NULL")
    op.create_index("ix_generations_video_id", table, ["video_id"], postgresql_where="video_id IS NOT NULL")
    op.create_index("ix_generations_quota", table, ["owner_id", "created_at"], postgresql_where="door = 'studio'")
    op.create_index("ix_generations_deleted_at", table, ["deleted_at"], postgresql_where="deleted_at IS NOT NULL")
    op.create_index("ix_generations_search", table, ["search"], postgresql_using="gin")
    op.create_index(
        "ix_generations_spec", table, ["spec"], postgresql_using="gin", postgresql_ops={"spec": "jsonb_path_ops"}
    )
    op.create_table(
        "source_images",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid()),
        sa.Column("s3_key", sa.String(1024), nullable=False),
        sa.Column("content_type", sa.String(100), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _time, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", _time, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_source_images"),
        sa.UniqueConstraint("project_id", "id", name="uq_source_images_project_id_id"),
        sa.UniqueConstraint("s3_key", name="uq_source_images_s3_key"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_source_images_project_id_projects", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name="fk_source_images_owner_id_users", ondelete="SET NULL"
        ),
    )
    op.create_index("ix_source_images_project_id", "source_images", ["project_id"])
    op.create_index("ix_source_images_created_at", "source_images", ["created_at"])


def downgrade() -> None:
    op.drop_table("source_images")
    op.drop_table("generations")
    for name in ("model_used", "orientation", "prompt"):
        op.drop_column("videos", name)
