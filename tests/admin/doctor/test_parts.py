"""Uploads in parts on a storage that has none, or where an upload's addresses outlive it."""

import pytest
from starlette.requests import Request
from starlette.responses import Response

from backend.admin.doctor import parts as checks
from backend.admin.doctor import storage as storage_checks
from backend.admin.doctor.findings import State
from backend.core import capabilities
from tests.admin.doctor.conftest import Examine
from tests.admin.doctor.proxy import Proxy


async def test_a_storage_without_multipart(examine: Examine, instead: Proxy) -> None:
    def none(request: Request) -> Response | None:
        return Response("<Error><Code>NotImplemented</Code></Error>", 501) if request.method == "POST" else None

    instead.refuse = none
    found = await examine(checks.multipart)
    assert (found.state, found.detail) == (State.FAILED, "HTTP 501 NotImplemented")
    found = await examine(storage_checks.facts)
    assert found.state is State.OK
    assert not capabilities.current().list_uploads_by_prefix


async def test_on_the_embedded_storage_a_part_changes_nothing_once_its_upload_is_complete(examine: Examine) -> None:
    found = await examine(checks.parts_end)
    assert (found.state, found.fix) == (State.OK, ""), found


class Careless:
    """A server that goes on taking parts of what is complete; `spoils`: and shows them in the object."""

    def __init__(self, *, spoils: bool) -> None:
        self.spoils = spoils
        self.complete = False
        self.part = b""

    async def look(self, request: Request) -> None:
        if request.method == "PUT":
            self.part = await request.body()

    def answer(self, request: Request, answer: Response) -> Response:
        if request.method == "POST" and "uploadId" in request.query_params:
            self.complete = True
        elif request.method == "PUT" and self.complete:
            return Response(status_code=200, headers={"etag": '"0"'})
        elif request.method == "GET" and self.complete and self.spoils:
            return Response(self.part)
        return answer


@pytest.mark.parametrize(("spoils", "words"), [(True, "changed what was stored"), (False, "taken after")])
async def test_a_storage_that_takes_parts_of_what_is_complete(
    spoils: bool, words: str, examine: Examine, proxy: Proxy
) -> None:
    careless = Careless(spoils=spoils)
    proxy.wait, proxy.answer = careless.look, careless.answer
    found = await examine(checks.parts_end)
    assert (found.state, words in found.words, "PRESIGNED_URL_EXPIRATION" in found.fix) == (State.FAILED, True, True)
