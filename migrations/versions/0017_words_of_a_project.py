"""Words of a project: videos are searched by an index in which each project's words stand beside each other"""

from alembic import op

revision = "0017"
down_revision = "0016"

_WORDS = "regexp_replace(lower(title || ' ' || filename || ' ' || description), '[^[:alnum:]]+', ' ', 'g')"
_MARKED = f"replace(' ' || btrim({_WORDS}), ' ', ' ' || 'p' || left(project_id::text, 8))"


def upgrade() -> None:
    op.execute("DROP INDEX ix_videos_search")
    op.execute(
        f"ALTER TABLE videos DROP COLUMN search, ADD COLUMN search tsvector"
        f" GENERATED ALWAYS AS (to_tsvector('simple'::regconfig, {_MARKED})) STORED"
    )
    op.execute("CREATE INDEX ix_videos_search ON videos USING gin (search) WITH (gin_pending_list_limit = 256)")


def downgrade() -> None:
    op.execute("DROP INDEX ix_videos_search")
    op.execute(
        f"ALTER TABLE videos DROP COLUMN search, ADD COLUMN search tsvector"
        f" GENERATED ALWAYS AS (to_tsvector('simple'::regconfig, {_WORDS})) STORED"
    )
    op.execute("CREATE INDEX ix_videos_search ON videos USING gin (search)")
