"""Bytes from elsewhere: what a provider made, and the pictures that somebody named by their address.

All of it goes through `core/http`, which decides where a request may go. A redirect is judged like a first address, and
what a request is authorized by is never sent on to another server.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urljoin

from backend.config import settings
from backend.core import http
from backend.core.errors import UrlNotAllowed
from backend.core.http import NameNotFound, NoAnswer
from backend.generation.providers.base import Remote
from backend.generation.providers.endpoint import origin_of
from backend.jobs.running import JobError

MOST_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_ASSET_SECONDS = 1800
_IMAGE_SECONDS = 60
_MEGABYTE = 1024 * 1024
#: A result is there and paid for: what keeps us from it is waited for so often, so many seconds longer each time.
_TRIES, _WAIT_SECONDS = 4, 2.0


async def asset(remote: Remote, dest: Path) -> None:
    """Fetch a result. Raises JobError."""
    for attempt in range(1, _TRIES + 1):
        try:
            status = await _fetch(remote, dest, settings.generation_max_mb * _MEGABYTE, _ASSET_SECONDS)
        except UrlNotAllowed as error:
            words = f"The provider named a result where requests may not go: {error.message}"
            raise JobError("provider_error", words, retryable=True) from error
        except http.TooLarge as error:
            words = f"The result is larger than {settings.generation_max_mb} MB."
            raise JobError("resource_limit", words) from error
        except NoAnswer as error:
            trouble = str(error)
        else:
            if status == 200:
                return
            trouble = f"It answered with status {status}."
            if status < 500 and status not in (404, 408, 425, 429):  # some are there a moment later
                break
        if attempt < _TRIES:
            await asyncio.sleep(_WAIT_SECONDS * attempt)
    words = f"The result could not be fetched from the provider. {trouble}"
    raise JobError("provider_unavailable", words, retryable=True)


async def picture(url: str, dest: Path) -> None:
    """Fetch a picture that somebody named. Raises JobError."""
    trouble = ""
    try:
        status = await _fetch(Remote(url), dest, settings.source_image_max_mb * _MEGABYTE, _IMAGE_SECONDS)
        if status == 200:
            return
        trouble = f"It answered with status {status}."
    except NameNotFound as error:  # it was found when the picture was asked for
        trouble = error.message
    except UrlNotAllowed as error:
        raise JobError("url_not_allowed", f"A picture could not be fetched. {error.message}") from error
    except http.TooLarge as error:
        raise JobError("resource_limit", f"A picture is larger than {settings.source_image_max_mb} MB.") from error
    except NoAnswer as error:
        trouble = str(error)
    raise JobError("image_unavailable", f"A picture could not be fetched. {trouble}", retryable=True)


async def _fetch(remote: Remote, dest: Path, max_bytes: int, seconds: float) -> int:
    """The status of the last answer; 200: `dest` is there. Raises UrlNotAllowed, NoAnswer, TooLarge."""
    url, status = remote.url, 0
    for _ in range(MOST_REDIRECTS + 1):
        own = remote.own_origin is not None and origin_of(url) == remote.own_origin
        headers: Mapping[str, str] = remote.headers if own or url == remote.url else {}
        answer = await http.download(
            url, dest, max_bytes=max_bytes, timeout_seconds=seconds, headers=headers, trusted=own
        )
        status = answer.status
        location = answer.headers.get("location", "")
        if status not in _REDIRECTS or not location:
            return status
        url = urljoin(url, location)
    return status
