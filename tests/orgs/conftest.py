"""What tests of streams need to have a job to follow."""

from tests.jobs.conftest import declare, jobs

__all__ = ["declare", "jobs"]
