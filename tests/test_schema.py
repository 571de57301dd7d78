"""What `/openapi.json` says is what is answered: to good input and bad, whoever asks.

Every operation is sent values made from its description and values that violate it. FUZZ_EXAMPLES (of each kind, for
each operation and asker) makes it long: `FUZZ_EXAMPLES=100 python -m pytest tests/test_schema.py`.
"""

import os
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection

from tests.conftest import PASSWORD, Live

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "1"))
#: They work for seconds and take nothing in: once is enough.
SLOW = ("/api/admin/doctor", "/api/admin/storage")
#: It would end the session that asks.
ENDS_SESSION = "/api/auth/logout"
#: What a description cannot say is refused by the route itself, and so is what does not fit what is there.
RIGHT_INPUT_MAY_GET = ["2xx", "3xx", "400", "401", "403", "404", "409", "410", "413", "415", "422", "429", "503"]


@pytest.fixture(scope="module")
def live_settings() -> dict[str, str]:
    limits = ("ADDRESS_REQUESTS_PER_MINUTE", "USER_REQUESTS_PER_MINUTE", "KEY_REQUESTS_PER_MINUTE")
    own = ("PUBLIC_UPLOADS_PER_MINUTE", "LOGIN_ATTEMPTS_PER_MINUTE", "REGISTRATIONS_PER_HOUR")
    return {
        **dict.fromkeys(limits, "0"),
        **dict.fromkeys(own, "1000000"),
        "ACCESS_TOKEN_MINUTES": "1440",
        "WEBHOOK_SLOTS": "0",
        "STORAGE_EVENTS_TOKEN": "a token of the storage's",
    }


@dataclass
class Asker:
    """Somebody who asks, and ids of what is theirs."""

    name: str
    headers: dict[str, str]
    ids: dict[str, str]


@dataclass
class Findings:
    """What was sent, what came back, and what was wrong with it."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: dict[tuple[str, str], str] = field(default_factory=dict)
    guarded: set[str] = field(default_factory=set)  #: operations that did it, but not without or with wrong credentials


def make_askers(url: str) -> list[Asker]:
    """The first who registers is the admin; the owner has one of most things."""
    with httpx.Client(base_url=url, timeout=60) as door:

        def register(name: str) -> tuple[dict[str, str], str]:
            email = f"{name}-{uuid.uuid4().hex[:8]}@example.org"
            answer = door.post("/api/auth/register", json={"email": email, "password": PASSWORD})
            assert answer.status_code == 201, answer.text
            return {"Authorization": f"Bearer {answer.json()['token']}"}, answer.json()["user"]["id"]

        def sign_in_as_a_browser(name: str) -> dict[str, str]:
            form = {"email": f"{name}-{uuid.uuid4().hex[:8]}@example.org", "password": PASSWORD}
            answer = door.post("/register", data=form)
            assert answer.status_code == 303, answer.text
            cookies = "; ".join(f"{name}={value}" for name, value in answer.cookies.items())
            door.cookies.clear()
            return {"Cookie": cookies, "Sec-Fetch-Site": "same-origin"}

        def make(path: str, body: object, **headers: str) -> dict[str, Any]:
            answer = door.post(path, json=body, headers=headers)
            assert answer.is_success, answer.text
            made: dict[str, Any] = answer.json()
            return made

        admin = sign_in_as_a_browser("admin")
        owner, _ = register("owner")
        _, other_id = register("other")
        project = make("/api/projects", {"name": "Spring"}, **owner)["id"]
        place = f"/api/projects/{project}"
        upload = {"filename": "a.mp4", "size": 9, "content_type": "video/mp4", "project_id": project}
        parts = make("/api/upload/presigned-url", upload | {"multipart": True}, **owner)
        single = make("/api/upload/presigned-url", upload, **owner)
        stored = httpx.put(single["upload_url"], content=b"not a fil", headers=single["headers"])
        assert stored.is_success, stored.text
        video = make("/api/videos", {"video_id": single["video_id"]}, **owner)
        scopes = ["read", "write", "tasks", "admin"]
        hook = make(f"{place}/webhooks", {"url": "http://93.184.216.34/", "events": ["job.*"]}, **owner)
        key = make(f"{place}/api-keys", {"name": "Robot", "scopes": scopes}, **owner)
        trial = {"project_id": project, "task_type": "test_prompt", "task_data": {"prompt": "A boat"}}
        ids = {
            "project_id": project,
            "organization_id": make("/api/orgs", {"name": "Club"}, **owner)["id"],
            "video_id": video["id"],
            "job_id": video["job_id"],
            "upload_id": parts["upload_id"],
            "user_id": other_id,
            "key_id": make(f"{place}/api-keys", {"name": "Spare", "scopes": ["read"]}, **owner)["id"],
            "invitation_id": make(f"{place}/invitations", {}, **owner)["id"],
            "token": make(f"{place}/invitations", {}, **owner)["token"],
            "webhook_id": hook["id"],
            "task_id": make("/api/v1/tasks/submit", trial, **owner)["task_id"],
            "delivery_id": make(f"{place}/webhooks/{hook['id']}/test", None, **owner)["id"],
        }
    return [
        Asker("owner", owner, ids),
        Asker("admin", admin, ids),
        Asker("key", {"X-API-Key": key["key"]}, ids),
        Asker("anonymous", {}, ids),
    ]


def drive(url: str, asker: Asker, operation: Any, mode: GenerationMode, findings: Findings) -> None:
    """Send examples of one operation as one asker; what is wrong is kept, and the rest goes on."""

    def one(case: Any) -> None:
        real = mode is GenerationMode.POSITIVE and findings.sent % 2 == 0 and case.method != "DELETE"
        if real and isinstance(case.path_parameters, dict):
            case.path_parameters.update({k: v for k, v in asker.ids.items() if k in case.path_parameters})
        answer = case.call(base_url=url, headers=asker.headers, timeout=60)
        findings.sent += 1
        findings.statuses[answer.status_code] += 1
        try:
            # An empty value in a query is as one that is not there: forms that filter send their empty fields, too.
            sent = parse_qsl(urlsplit(str(answer.request.url)).query, keep_blank_values=True)
            empty = any(value == "" for _, value in sent)
            unfit: list[Any] = [negative_data_rejection] if empty else []
            if operation.label in findings.guarded:  # each time three more requests
                unfit.append(ignored_auth)
            case.validate_response(answer, headers=asker.headers, excluded_checks=unfit)
            if answer.status_code < 300 and list(operation.security.iter_parameters()):
                findings.guarded.add(operation.label)
        except FailureGroup as group:
            for failure in group.exceptions:
                what = (f"{operation.label} as {asker.name}", type(failure).__name__)
                said = f"{failure}\n{answer.status_code} {answer.text[:500]}\n{case.as_curl_command()[:1500]}"
                findings.wrong.setdefault(what, said)

    slow = operation.path.startswith(SLOW)
    run = given(case=operation.as_strategy(generation_mode=mode))(one)
    run = settings(
        max_examples=1 if slow else EXAMPLES,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(run)
    with suppress(Unsatisfiable):  # nothing about it can be wrong
        seed(operation.label)(run)()


def test_every_operation_keeps_its_word_whoever_asks(
    live: Live, clean: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = schemathesis.Config.from_dict(
        {
            "checks": {"positive_data_acceptance": {"expected-statuses": RIGHT_INPUT_MAY_GET}},
            "generation": {"with-security-parameters": False},  # askers bring their own
        }
    )
    schema = schemathesis.openapi.from_url(f"{live.url}/openapi.json", config=config)
    operations: list[Any] = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
    askers = make_askers(live.url)
    kept = {asker.name: Findings() for asker in askers}

    for asker in askers:
        for operation in operations:
            if operation.path == ENDS_SESSION and asker.name != "anonymous":
                continue
            if operation.path.startswith(SLOW) and asker.name not in ("admin", "anonymous"):
                continue
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                drive(live.url, asker, operation, mode, kept[asker.name])

    statuses = sum((each.statuses for each in kept.values()), Counter[int]())
    wrong = {what: said for each in kept.values() for what, said in each.wrong.items()}
    guarded = set().union(*(each.guarded for each in kept.values()))
    with capsys.disabled():
        print(
            f"\nschema: {len(operations)} operations, {len(askers)} askers, {statuses.total()} requests, "
            f"{dict(sorted(statuses.items()))}, {sum(n for status, n in statuses.items() if status == 500)} of 500, "
            f"{len(wrong)} violations; {len(guarded)} operations guarded"
        )
    assert wrong == {}, "\n\n".join(f"{what}: {said}" for what, said in wrong.items())
