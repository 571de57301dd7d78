"""What was cut off the end of a video's file, where it is known"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column("videos", sa.Column("missing_bytes", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("videos", "missing_bytes")
