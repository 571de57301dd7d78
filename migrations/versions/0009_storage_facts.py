"""What was found out about the storage server"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "storage_facts",
        sa.Column("endpoint", sa.String(length=500), nullable=False),
        sa.Column("server", sa.String(length=30), nullable=False),
        sa.Column("probed", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("probed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("endpoint", name=op.f("pk_storage_facts")),
    )


def downgrade() -> None:
    op.drop_table("storage_facts")
