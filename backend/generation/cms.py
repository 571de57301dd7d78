"""What is said to a PayloadCMS (version 3): find a task's document in a collection, make it, change it.

A document is known by its `task_id`, so that the same result sent again changes the document and makes no second one.
"""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from backend import __version__
from backend.core import http
from backend.core.errors import UrlNotAllowed
from backend.core.words import filesize
from backend.jobs.running import JobError

ANSWER_SECONDS = 30.0
#: For a file, beside what it takes at a slow line's pace.
_BYTES_PER_SECOND = 250_000
_MAX_ANSWER_BYTES = 1024 * 1024
_CHUNK_BYTES = 256 * 1024
#: Ids of documents: numbers, UUIDs, ObjectIds, or what a collection makes itself; printable, as they go into paths.
_ID = re.compile(r"[\x21-\x7e]{1,200}")
_BUSY = {408, 425, 429, 500, 502, 503, 504}


class Unavailable(JobError):
    """It does not answer, or has no time: nothing is lost, it is tried again for a day."""

    def __init__(self, message: str) -> None:
        super().__init__("cms_unavailable", message, retryable=True, spends_attempt=False)


class Refused(JobError):
    """It says no, and would again: somebody has to change something there or here."""

    def __init__(self, message: str) -> None:
        super().__init__("cms_refused", message)


@dataclass(frozen=True)
class Collection:
    """Where documents go, and whose key opens it. `url` may name the API's own path; else it is `/api`."""

    url: str
    slug: str
    api_key: str
    key_collection: str = "users"

    @property
    def address(self) -> str:
        base = self.url.rstrip("/")
        return f"{base if urlsplit(base).path else f'{base}/api'}/{quote(self.slug, safe='')}"

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Authorization": f"{self.key_collection} API-Key {self.api_key}",
            "Accept": "application/json",
            "User-Agent": f"Dailies/{__version__}",
        }


@dataclass(frozen=True)
class File:
    """What is sent along."""

    path: Path
    name: str
    content_type: str


async def put(collection: Collection, fields: Mapping[str, Any], file: File | None = None) -> str:
    """Make the document of `fields["task_id"]`, or change the one there is; answers the CMS's id of it.

    Raises Unavailable, Refused.
    """
    found = await find(collection, fields["task_id"])
    if found is None:
        answer = await _send(collection, "POST", "", fields, file)
        if answer.status == 400 and "task_id" in _paths(answer):  # somebody made it in this moment
            found = await find(collection, fields["task_id"])
        if found is None:
            return _id_of(_good(collection, answer).get("doc"))
    changed = await _send(collection, "PATCH", f"/{quote(found, safe='')}", fields, file)
    return _id_of(_good(collection, changed).get("doc"))


async def find(collection: Collection, task_id: str) -> str | None:
    """The CMS's id of a task's document. Raises Unavailable, Refused."""
    query = urlencode({"where[task_id][equals]": task_id, "limit": 1, "depth": 0})
    found = _good(collection, await _ask(collection, "GET", f"?{query}", {}, b"", ANSWER_SECONDS)).get("docs")
    if not isinstance(found, list):
        raise Refused(f"{collection.address} does not answer as the API of a PayloadCMS does.")
    return _id_of(found[0]) if found else None


# --- requests --------------------------------------------------------------------------------------------------------


async def _send(
    collection: Collection, method: str, path: str, fields: Mapping[str, Any], file: File | None
) -> http.Answer:
    text = json.dumps(fields, ensure_ascii=False)
    if file is None:
        return await _ask(collection, method, path, {"Content-Type": "application/json"}, text.encode(), ANSWER_SECONDS)
    # Payload takes the fields of a form from `_payload` alone; others it drops without a word.
    boundary = secrets.token_hex(16)
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="_payload"\r\n\r\n{text}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n'
        f"Content-Type: {file.content_type}\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    size = file.path.stat().st_size

    async def body() -> AsyncIterator[bytes]:
        yield head
        with file.path.open("rb") as source:
            while chunk := await asyncio.to_thread(source.read, _CHUNK_BYTES):
                yield chunk
        yield tail

    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(len(head) + size + len(tail)),
    }
    try:
        return await _ask(collection, method, path, headers, body, ANSWER_SECONDS + size / _BYTES_PER_SECOND)
    except Unavailable as error:
        cause = error.__cause__
        if not isinstance(cause, http.NoAnswer) or not cause.cut:
            raise
        # Who takes no file this large often hangs up while it comes, so that nobody hears why: not for a day, then.
        words = f"{error.message} A file of {filesize(size)} was being sent: it may be more than the CMS takes."
        raise JobError("cms_unavailable", words, retryable=True) from error


async def _ask(
    collection: Collection, method: str, path: str, headers: Mapping[str, str], body: http.Body, seconds: float
) -> http.Answer:
    try:
        return await http.request(
            method,
            collection.address + path,
            headers={**collection.headers, **headers},
            body=body,
            timeout_seconds=seconds,
            max_answer_bytes=_MAX_ANSWER_BYTES,
        )
    except UrlNotAllowed as error:  # also a name that is not found at the moment
        raise Unavailable(error.message) from error
    except http.NoAnswer as error:
        raise Unavailable(str(error)) from error


# --- answers ---------------------------------------------------------------------------------------------------------


def _good(collection: Collection, answer: http.Answer) -> dict[str, Any]:
    """The body of an answer that says yes. Raises Unavailable, Refused: in words for whoever set it up."""
    said = _words(answer)
    if answer.status in (401, 403):
        raise Refused(f"The CMS does not let this key do that ({answer.status}). {said}".strip())
    if answer.status == 404:
        raise Refused(f"There is nothing at {collection.address} (404). Look at the address and the collection.")
    if answer.status in _BUSY:
        raise Unavailable(f"The CMS answered {answer.status}. {said}".strip())
    if answer.status == 413:
        raise Refused(f"The file is larger than the CMS takes (413). {said}".strip())
    if answer.status == 400 and "cannot be queried" in said:
        raise Refused(f"The collection {collection.slug} needs a text field named task_id. {said}")
    if not 200 <= answer.status < 300:
        raise Refused(f"The CMS answered {answer.status}. {said}".strip())
    return _json(answer) or {}


def _json(answer: http.Answer) -> dict[str, Any] | None:
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):  # the latter: nested without end
        return None
    return body if isinstance(body, dict) else None


def _id_of(document: object) -> str:
    """The id of a document in an answer: a number or a short text."""
    known = document.get("id") if isinstance(document, dict) else None
    if isinstance(known, bool) or not isinstance(known, str | int) or not _ID.fullmatch(str(known)):
        raise Refused(
            "The CMS answered without the document's id: it is not the API of a PayloadCMS, or of another version."
        )
    return str(known)


def _errors(answer: http.Answer) -> list[dict[str, Any]]:
    listed = (_json(answer) or {}).get("errors")
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _paths(answer: http.Answer) -> set[str]:
    """The fields that a refusal is about."""
    found: set[str] = set()
    for error in _errors(answer):
        data = error.get("data")
        parts = data.get("errors") if isinstance(data, dict) else None
        found |= {str(part["path"]) for part in parts or [] if isinstance(part, dict) and "path" in part}
    return found


def _words(answer: http.Answer) -> str:
    said: list[str] = []
    for error in _errors(answer)[:3]:
        data = error.get("data")
        parts = data.get("errors") if isinstance(data, dict) else None
        details = [f"{part.get('path')}: {part.get('message')}" for part in parts or [] if isinstance(part, dict)]
        said.append(" ".join([str(error.get("message", "")), *details[:5]]))
    return re.sub(r"[^\x20-\x7e\u00a0-\ud7ff]+", " ", " ".join(said))[:500].strip()
