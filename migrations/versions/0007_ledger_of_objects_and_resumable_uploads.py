"""The ledger of objects, and uploads in parts"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

OPEN = "state IN ('waiting', 'uploading', 'verifying')"
COLUMNS = (
    sa.Column("storage_upload_id", sa.Text(), nullable=True),
    sa.Column("part_size", sa.BigInteger(), nullable=True),
    sa.Column("resumable", sa.Boolean(), server_default="false", nullable=False),
    sa.Column("checksum", sa.String(length=64), nullable=True),
    sa.Column("title", sa.String(length=200), nullable=True),
    sa.Column("description", sa.String(length=5000), nullable=True),
    sa.Column("check_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
)


def upgrade() -> None:
    op.create_table(
        "stored_objects",
        sa.Column("key", sa.String(length=1024, collation="C"), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("video_id", sa.Uuid(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("writable_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("buried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_stored_objects")),
    )
    op.create_index("ix_stored_objects_video_id", "stored_objects", ["video_id"])
    op.create_index("ix_stored_objects_due_at", "stored_objects", ["due_at"], postgresql_where="due_at IS NOT NULL")
    for column in COLUMNS:
        op.add_column("uploads", column.copy())
    op.drop_index("ix_uploads_open", "uploads")
    op.create_index("ix_uploads_open", "uploads", ["project_id"], postgresql_where=OPEN)
    op.create_index("ix_uploads_check_at", "uploads", ["check_at"], postgresql_where="check_at IS NOT NULL")
    op.create_index("ix_uploads_checksum", "uploads", ["checksum"], postgresql_where="checksum IS NOT NULL")

    # What is there already: the originals, and the posters made of them.
    op.execute("""
        INSERT INTO stored_objects (key, kind, project_id, video_id, recorded_at, writable_until)
        SELECT s3_key, 'original', project_id, video_id, created_at, expires_at FROM uploads
        WHERE state <> 'cancelled'
        ON CONFLICT DO NOTHING
    """)
    op.execute("""
        INSERT INTO stored_objects (key, kind, project_id, video_id, recorded_at)
        SELECT s3_key, 'original', project_id, id, created_at FROM videos
        UNION ALL SELECT poster_key, 'poster', project_id, id, created_at FROM videos WHERE poster_key IS NOT NULL
        ON CONFLICT DO NOTHING
    """)
    # Given up while its address was good: removed as it would have been. Open ones are looked at from now on.
    op.execute("""
        INSERT INTO stored_objects (key, kind, project_id, video_id, recorded_at, writable_until, buried_at, due_at)
        SELECT s3_key, 'original', project_id, video_id, created_at, expires_at, now(), now() FROM uploads
        WHERE state = 'cancelled' AND expires_at > now() - interval '1 day'
        ON CONFLICT DO NOTHING
    """)
    op.execute("UPDATE uploads SET check_at = now() WHERE state IN ('waiting', 'failed', 'expired')")
    op.execute("UPDATE uploads SET confirmed_at = completed_at WHERE state = 'completed'")


def downgrade() -> None:
    op.drop_index("ix_uploads_checksum", "uploads")
    op.drop_index("ix_uploads_check_at", "uploads")
    op.drop_index("ix_uploads_open", "uploads")
    op.create_index("ix_uploads_open", "uploads", ["expires_at"], postgresql_where=OPEN)
    for column in reversed(COLUMNS):
        op.drop_column("uploads", column.name)
    op.drop_table("stored_objects")
