"""The embedded stack: real Postgres, Valkey and S3 (Swift), started from wheels, without Docker.

Only `backend.cli` and the tests import this package; it knows neither the settings nor any domain.
"""
