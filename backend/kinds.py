"""Every kind of job, made known by being imported: what runs jobs, starts them or judges who can imports this."""

import backend.videos.removal
import backend.videos.rendition_tasks
import backend.videos.tasks  # noqa: F401
