"""Organizations with members, invitations, API keys, features, and families of jobs within one project"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    texts = postgresql.ARRAY(sa.String())
    op.add_column("users", sa.Column("features", texts, server_default="{}", nullable=False))
    op.create_table(
        "organizations",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("features", texts, server_default="{}", nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        *_times("created_at", "updated_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organizations")),
    )
    op.create_table(
        "org_members",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        *_times("created_at"),
        _to("org_members", "organization_id", "organizations", "CASCADE"),
        _to("org_members", "user_id", "users", "CASCADE"),
        sa.PrimaryKeyConstraint("organization_id", "user_id", name=op.f("pk_org_members")),
    )
    op.create_index(op.f("ix_org_members_user_id"), "org_members", ["user_id"])

    op.alter_column("projects", "owner_id", nullable=True)
    op.add_column("projects", sa.Column("organization_id", sa.Uuid(), nullable=True))
    op.add_column("projects", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_foreign_key(
        op.f("fk_projects_organization_id_organizations"),
        "projects",
        "organizations",
        ["organization_id"],
        ["id"],
        ondelete="RESTRICT",
    )
    op.create_index(op.f("ix_projects_organization_id"), "projects", ["organization_id"])
    op.create_check_constraint(
        op.f("ck_projects_one_owner"), "projects", "(owner_id IS NULL) <> (organization_id IS NULL)"
    )
    op.create_check_constraint(op.f("ck_projects_personal"), "projects", "NOT personal OR owner_id IS NOT NULL")

    op.create_table(
        "invitations",
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("organization_id", sa.Uuid(), nullable=True),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("email", sa.String(length=320), server_default="", nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        *_times("created_at"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("accepted_by", sa.Uuid(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("(project_id IS NULL) <> (organization_id IS NULL)", name=op.f("ck_invitations_one_place")),
        _to("invitations", "project_id", "projects", "CASCADE"),
        _to("invitations", "organization_id", "organizations", "CASCADE"),
        _to("invitations", "created_by", "users", "CASCADE"),
        _to("invitations", "accepted_by", "users", "SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitations_token_hash")),
    )
    op.create_index(op.f("ix_invitations_project_id"), "invitations", ["project_id"])
    op.create_index(op.f("ix_invitations_organization_id"), "invitations", ["organization_id"])

    op.create_table(
        "api_keys",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("public_id", sa.String(length=12), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("scopes", texts, nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("replaces_id", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        *_times("created_at", "updated_at"),
        _to("api_keys", "project_id", "projects", "CASCADE"),
        _to("api_keys", "created_by", "users", "CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("public_id", name=op.f("uq_api_keys_public_id")),
        sa.UniqueConstraint("project_id", "id", name=op.f("uq_api_keys_project_id_id")),
        sa.ForeignKeyConstraint(
            ["project_id", "replaces_id"],
            ["api_keys.project_id", "api_keys.id"],
            name=op.f("fk_api_keys_project_id_replaces_id_api_keys"),
            ondelete="SET NULL (replaces_id)",
        ),
    )
    op.create_index(op.f("ix_api_keys_created_by"), "api_keys", ["created_by"])

    op.add_column("audit_log", sa.Column("organization_id", sa.Uuid(), nullable=True))
    for column in ("project_id", "organization_id"):
        op.create_index(
            op.f(f"ix_audit_log_{column}_id"), "audit_log", [column, "id"], postgresql_where=f"{column} IS NOT NULL"
        )

    op.create_unique_constraint(op.f("uq_jobs_project_id_id"), "jobs", ["project_id", "id"])
    op.drop_constraint(op.f("fk_jobs_parent_id_jobs"), "jobs", type_="foreignkey")
    op.create_foreign_key(
        op.f("fk_jobs_project_id_parent_id_jobs"),
        "jobs",
        "jobs",
        ["project_id", "parent_id"],
        ["project_id", "id"],
        onupdate="CASCADE",
        ondelete="SET NULL (parent_id)",
    )


def downgrade() -> None:
    op.drop_constraint(op.f("fk_jobs_project_id_parent_id_jobs"), "jobs", type_="foreignkey")
    op.create_foreign_key(op.f("fk_jobs_parent_id_jobs"), "jobs", "jobs", ["parent_id"], ["id"], ondelete="SET NULL")
    op.drop_constraint(op.f("uq_jobs_project_id_id"), "jobs", type_="unique")
    for column in ("organization_id", "project_id"):
        op.drop_index(f"ix_audit_log_{column}_id", "audit_log")
    op.drop_column("audit_log", "organization_id")
    op.drop_table("api_keys")
    op.drop_table("invitations")
    # What organizations have cannot be had without them.
    op.execute("DELETE FROM projects WHERE organization_id IS NOT NULL")
    op.drop_constraint(op.f("ck_projects_personal"), "projects", type_="check")
    op.drop_constraint(op.f("ck_projects_one_owner"), "projects", type_="check")
    op.drop_column("projects", "deleted_at")
    op.drop_column("projects", "organization_id")
    op.alter_column("projects", "owner_id", nullable=False)
    op.drop_table("org_members")
    op.drop_table("organizations")
    op.drop_column("users", "features")


def _times(*names: str) -> list[sa.Column[object]]:
    now = sa.text("now()")
    return [sa.Column(name, sa.DateTime(timezone=True), server_default=now, nullable=False) for name in names]


def _to(table: str, column: str, other: str, ondelete: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{other}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete=ondelete)
