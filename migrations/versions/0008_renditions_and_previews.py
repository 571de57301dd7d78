"""Renditions, previews and ladders"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"

COLUMNS = (
    sa.Column("preview_key", sa.String(length=1024), nullable=True),
    sa.Column("preview", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column("rendition_key", sa.String(length=1024), nullable=True),
    sa.Column("rendition_kind", sa.String(length=20), nullable=True),
    sa.Column("rendition_size_bytes", sa.BigInteger(), nullable=True),
    sa.Column("has_ladder", sa.Boolean(), server_default="false", nullable=False),
    sa.Column("ladder", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
)


def upgrade() -> None:
    for column in COLUMNS:
        op.add_column("videos", column.copy())


def downgrade() -> None:
    for column in COLUMNS:
        op.drop_column("videos", column.name)
