"""What can go wrong, as exceptions: one for each kind of answer, with the stable `code` that the server gave."""

from collections.abc import Mapping


class DailiesError(Exception):
    """Everything this package raises about the world; wrong arguments are ValueError or TypeError."""


class ConnectionFailed(DailiesError):
    """There was no answer: no connection, or it broke, or it took too long. `__cause__` says which."""


class UnexpectedAnswer(DailiesError):
    """What answered does not speak this API, or another version of it."""


class TimedOut(DailiesError):
    """What was waited for did not happen in the time that was given."""


class StorageRefused(DailiesError):
    """The storage did not take or give the bytes. `status` is its answer's, `detail` the beginning of what it said."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail
        super().__init__(f"the storage answered {status}: {detail}".rstrip(": "))


class SignatureError(DailiesError):
    """A webhook is not from where it says, was changed on the way, or is too old."""


class ApiError(DailiesError):
    """An answer that says no. `code` is stable and for programs, `message` is for people.

    `fields` names what was wrong with which input. `request_id` finds the request in the server's log.
    `retry_after` is in seconds, where the server said when to come again.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        request_id: str | None = None,
        fields: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id
        self.fields = dict(fields or {})
        self.retry_after = retry_after
        details = "".join(f" ({name}: {words})" for name, words in self.fields.items())
        super().__init__(f"{code}: {message}{details} [status {status}, request {request_id}]")


class BadRequest(ApiError):
    """400, 405, 413, 415, 422: asking the same again gives the same."""


class ValidationFailed(BadRequest):
    """422: some values are not right; `fields` says which."""


class UrlNotAllowed(ValidationFailed):
    """The platform sends nothing to this address."""


class FileTooLarge(BadRequest):
    """The platform takes no file of this size."""


class UnsupportedType(BadRequest):
    """The platform takes no file of this type, or its extension does not agree with its type."""


class Unauthenticated(ApiError):
    """401: no credentials, or they have ended."""


class InvalidCredentials(Unauthenticated):
    """The email or the password is not right."""


class SessionEnded(Unauthenticated):
    """The session was revoked: log in again."""


class Forbidden(ApiError):
    """403: it is there to be seen, but not to be done by these credentials."""


class NotFound(ApiError):
    """404: it is not there, or not yours; nobody is told which."""


class Conflict(ApiError):
    """409: it does not fit the present state."""


class InvalidState(Conflict):
    """Such as retrying what has not failed."""


class QuotaExceeded(Conflict):
    """It does not fit into the storage one has left."""


class UploadIncomplete(Conflict):
    """The file, or a part of it, has not arrived as it was announced."""


class Gone(ApiError):
    """410: its time is over."""


class RateLimited(ApiError):
    """429: too many requests. They were repeated by themselves as often and as long as the client's settings allow."""


class ServerFailed(ApiError):
    """5xx: something went wrong on the other side."""


class Unavailable(ServerFailed):
    """502, 503, 504: for the moment."""


_BY_CODE: Mapping[str, type[ApiError]] = {
    "url_not_allowed": UrlNotAllowed,
    "file_too_large": FileTooLarge,
    "unsupported_type": UnsupportedType,
    "invalid_credentials": InvalidCredentials,
    "session_revoked": SessionEnded,
    "refresh_reused": SessionEnded,
    "invalid_state": InvalidState,
    "quota_exceeded": QuotaExceeded,
    "upload_missing": UploadIncomplete,
    "upload_mismatch": UploadIncomplete,
    "parts_invalid": UploadIncomplete,
}
_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: ValidationFailed,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def class_for(status: int, code: str) -> type[ApiError]:
    """The exception for an answer; codes of newer servers fall back on their status."""
    fallback = ServerFailed if status >= 500 else BadRequest
    return _BY_CODE.get(code) or _BY_STATUS.get(status, fallback)
