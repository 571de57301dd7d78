"""Every kind of job, made known by being imported: what runs jobs, starts them or judges who can imports this."""

import backend.coaching.tasks
import backend.generation.callbacks
import backend.generation.cms_sync
import backend.generation.tasks
import backend.videos.removal
import backend.videos.rendition_tasks
import backend.videos.tasks  # noqa: F401
