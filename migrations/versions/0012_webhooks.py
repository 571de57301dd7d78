"""Webhooks and their deliveries"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0012"
down_revision = "0011"

_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("description", sa.String(200), server_default="", nullable=False),
        sa.Column("events", ARRAY(sa.String(60)), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("previous_secret", sa.LargeBinary()),
        sa.Column("previous_until", _time),
        sa.Column("enabled", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("disabled_reason", sa.Text()),
        sa.Column("disabled_at", _time),
        sa.Column("failing_since", _time),
        sa.Column("created_at", _time, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", _time, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_endpoints"),
        sa.UniqueConstraint("project_id", "id", name="uq_webhook_endpoints_project_id_id"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_webhook_endpoints_project_id_projects", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_webhook_endpoints_enabled", "webhook_endpoints", ["project_id"], postgresql_where="enabled")
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.String(60), nullable=False),
        sa.Column("data", JSONB(), nullable=False),
        sa.Column("state", sa.String(20), server_default="pending", nullable=False),
        sa.Column("attempt", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("next_try_at", _time, server_default=sa.func.clock_timestamp()),
        sa.Column("lease_token", sa.Uuid()),
        sa.Column("lease_until", _time),
        sa.Column("status", sa.SmallInteger()),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", _time, server_default=sa.func.clock_timestamp(), nullable=False),
        sa.Column("finished_at", _time),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.UniqueConstraint("project_id", "id", name="uq_webhook_deliveries_project_id_id"),
        sa.UniqueConstraint("endpoint_id", "event_id", name="uq_webhook_deliveries_endpoint_id_event_id"),
        sa.ForeignKeyConstraint(
            ["project_id", "endpoint_id"],
            ["webhook_endpoints.project_id", "webhook_endpoints.id"],
            name="fk_webhook_deliveries_project_id_endpoint_id_webhook_endpoints",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint(
            "(state = 'delivering') = (lease_token IS NOT NULL)", name=op.f("ck_webhook_deliveries_lease")
        ),
    )
    due, held = "state = 'pending'", "state = 'delivering'"
    table = "webhook_deliveries"
    op.create_index("ix_webhook_deliveries_due", table, ["endpoint_id", "next_try_at", "id"], postgresql_where=due)
    op.create_index("ix_webhook_deliveries_lease", table, ["lease_until"], postgresql_where=held)
    op.create_index("ix_webhook_deliveries_recent", table, ["endpoint_id", "created_at", "id"])
    op.create_index(
        "ix_webhook_deliveries_finished", table, ["finished_at"], postgresql_where="finished_at IS NOT NULL"
    )
    op.create_table(
        "webhook_attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("at", _time, nullable=False),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("status", sa.SmallInteger()),
        sa.Column("answer", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_attempts"),
        sa.ForeignKeyConstraint(
            ["project_id", "delivery_id"],
            ["webhook_deliveries.project_id", "webhook_deliveries.id"],
            name="fk_webhook_attempts_project_id_delivery_id_webhook_deliveries",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_webhook_attempts_delivery_id_id", "webhook_attempts", ["delivery_id", "id"])


def downgrade() -> None:
    for table in ("webhook_attempts", "webhook_deliveries", "webhook_endpoints"):
        op.drop_table(table)
