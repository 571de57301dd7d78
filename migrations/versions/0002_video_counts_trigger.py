"""Keep video_counts by triggers

Statement triggers with transition tables: one small upsert a statement, in a fixed order of rows, so that two
transactions that move videos in opposite directions cannot deadlock. A project that is being deleted is left alone.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

CHANGES = {
    "INSERT": "SELECT project_id, status, 1 AS n, size_bytes AS b FROM new_rows WHERE deleted_at IS NULL",
    "DELETE": "SELECT project_id, status, -1 AS n, -size_bytes AS b FROM old_rows WHERE deleted_at IS NULL",
}
CHANGES["UPDATE"] = f"{CHANGES['INSERT']} UNION ALL {CHANGES['DELETE']}"

TABLES = {
    "INSERT": "NEW TABLE AS new_rows",
    "DELETE": "OLD TABLE AS old_rows",
    "UPDATE": "OLD TABLE AS old_rows NEW TABLE AS new_rows",
}


def upgrade() -> None:
    for verb, changes in CHANGES.items():
        name = f"count_videos_{verb.lower()}"
        op.execute(f"""
            CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                INSERT INTO video_counts AS counts (project_id, status, videos, size_bytes)
                SELECT project_id, status, sum(n), sum(b)
                FROM ({changes}) AS changes
                WHERE EXISTS (SELECT FROM projects WHERE projects.id = changes.project_id)
                GROUP BY project_id, status
                HAVING sum(n) <> 0 OR sum(b) <> 0
                ORDER BY project_id, status
                ON CONFLICT (project_id, status) DO UPDATE
                SET videos = counts.videos + excluded.videos, size_bytes = counts.size_bytes + excluded.size_bytes;
                RETURN NULL;
            END $$
        """)
        op.execute(f"""
            CREATE TRIGGER {name} AFTER {verb} ON videos
            REFERENCING {TABLES[verb]} FOR EACH STATEMENT EXECUTE FUNCTION {name}()
        """)


def downgrade() -> None:
    for verb in CHANGES:
        name = f"count_videos_{verb.lower()}"
        op.execute(f"DROP TRIGGER {name} ON videos")
        op.execute(f"DROP FUNCTION {name}()")
