"""Requests that came with an Idempotency-Key, and their answers"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "idempotent_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("token", sa.Uuid(), nullable=False),
        sa.Column("lease_until", _time, nullable=False),
        sa.Column("touched_at", _time),
        sa.Column("answer", sa.LargeBinary()),
        sa.Column("expires_at", _time, nullable=False),
        sa.Column("credentials", sa.Uuid()),
        sa.Column("parting", sa.Boolean(), server_default="false", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_idempotent_requests"),
    )
    op.create_index("ix_idempotent_requests_expires_at", "idempotent_requests", ["expires_at"])
    op.create_index("ix_idempotent_requests_credentials", "idempotent_requests", ["credentials"])


def downgrade() -> None:
    op.drop_table("idempotent_requests")
