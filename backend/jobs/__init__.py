"""Background work: rows in Postgres that survive anything."""
