"""The task service: what a project's back end has made, by its key."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from dailies_client._api import Api, segment
from dailies_client._flows import Emit, Flow, Group, Sleep, Values, listing, operation
from dailies_client._parsing import parse, parse_list
from dailies_client.errors import TimedOut, UnexpectedAnswer
from dailies_client.task_models import NewTask, Task, TaskCancelled, TaskStatus, TaskType, TaskWorkers

D = TypeVar("D")
OnTask = Callable[[Task], None]

_PAGE = 100


class Tasks(Group[D]):
    """Tasks of a project, with a key whose scopes hold `tasks`."""

    @operation
    def submit(
        self,
        project_id: str,
        task_type: TaskType,
        task_data: Mapping[str, Any],
        *,
        priority: int = 2,
        callback_url: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Flow[NewTask]:
        """Queue a task. `priority` is 1 (first) to 3; its end is POSTed to `callback_url`, with your `metadata`.

        Raises ValidationFailed: `fields` says what of `task_data`; UrlNotAllowed.
        """
        body = {
            "project_id": project_id,
            "task_type": task_type,
            "task_data": dict(task_data),
            "priority": priority,
            "callback_url": callback_url,
            "metadata": None if metadata is None else dict(metadata),
        }
        return self._api.one(NewTask, "POST", "/api/v1/tasks/submit", json=body)

    @operation
    def get(self, task_id: str) -> Flow[Task]:
        """Where it stands."""
        return self._api.one(Task, "GET", f"/api/v1/tasks/{segment(task_id)}/status")

    @listing
    def list(
        self, project_id: str, *, status: TaskStatus | None = None, task_type: TaskType | None = None
    ) -> Values[Task]:
        """All that match, newest first. A type is found by any of its names."""
        return _pages(self._api, project_id, {"status": status, "task_type": task_type})

    @operation
    def cancel(self, task_id: str) -> Flow[TaskCancelled]:
        """A queued one ends at once, a running one within seconds. Raises InvalidState when it is over."""
        return self._api.one(TaskCancelled, "DELETE", f"/api/v1/tasks/{segment(task_id)}/cancel")

    @operation
    def retry(self, task_id: str) -> Flow[NewTask]:
        """Try a failed one again, under its id. Raises InvalidState for one that has not failed."""
        return self._api.one(NewTask, "POST", f"/api/v1/tasks/{segment(task_id)}/retry")

    @operation
    def wait(
        self, task_id: str, *, timeout: float | None = None, every: float = 1.0, on_progress: OnTask | None = None
    ) -> Flow[Task]:
        """Its last state, whether it ended well or badly; it is asked for each `every` seconds. Raises TimedOut."""
        return _wait(self._api, task_id, timeout, every, on_progress)

    @operation
    def workers(self) -> Flow[TaskWorkers]:
        """Who works on tasks now."""
        return self._api.one(TaskWorkers, "GET", "/api/v1/workers/status")


def _pages(api: Api, project_id: str, params: Mapping[str, Any]) -> Values[Task]:
    number = 1
    while True:
        given = {"limit": _PAGE, **params, "page": number}
        page = yield from api.json("GET", f"/api/v1/projects/{segment(project_id)}/tasks", params=given)
        if not isinstance(page, dict) or not isinstance(page.get("total_pages"), int):
            raise UnexpectedAnswer("this is no page of tasks")
        for each in parse_list(Task, page.get("tasks")):
            yield Emit(each)
        if number >= page["total_pages"]:
            return
        number += 1


def _wait(api: Api, task_id: str, timeout: float | None, every: float, on_progress: OnTask | None) -> Flow[Task]:
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        task = parse(Task, (yield from api.json("GET", f"/api/v1/tasks/{segment(task_id)}/status")))
        if on_progress is not None:
            on_progress(task)
        if task.is_final:
            return task
        if until is not None and time.monotonic() + every > until:
            raise TimedOut("the task has not ended")
        yield Sleep(every)
