"""Errors that reach a client: each has a stable code, a status and words a person understands."""

from collections.abc import Mapping


class AppError(Exception):
    """An answer in the shape of the error contract.

    `code` is stable and for programs, `message` is for people, `fields` names what was wrong with which input.
    """

    status = 500
    code = "internal"
    message = "Something went wrong on our side. Nothing was lost; try again."

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        status: int | None = None,
        fields: Mapping[str, str] | None = None,
        retry_after_seconds: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.message = message or type(self).message
        self.code = code or type(self).code
        self.status = status or type(self).status
        self.fields = dict(fields) if fields else None
        self.retry_after_seconds = retry_after_seconds
        self.headers = dict(headers or {})
        super().__init__(f"{self.code}: {self.message}")


class MalformedBody(AppError):
    status, code, message = 400, "malformed_body", "The request body could not be read."


class BadCursor(AppError):
    status, code, message = (
        400,
        "bad_cursor",
        "This page link is no longer valid. Start again from the first page.",
    )


class Unauthenticated(AppError):
    status, code, message = 401, "unauthenticated", "Log in to continue."


class InvalidCredentials(AppError):
    status, code, message = 401, "invalid_credentials", "The email or the password is not right."


class Forbidden(AppError):
    status, code, message = 403, "forbidden", "You may not do this."


class CsrfFailed(AppError):
    status, code, message = 403, "csrf_failed", "This request came from another site and was refused."


class NotFound(AppError):
    status, code, message = 404, "not_found", "There is nothing here, or it is not yours."


class Conflict(AppError):
    status, code, message = 409, "conflict", "This does not fit the present state."


class InvalidState(Conflict):
    code = "invalid_state"


class IdempotencyConflict(Conflict):
    code = "idempotency_conflict"
    message = "This Idempotency-Key was used before with another request. Use a new key for a new request."


class IdempotencyInProgress(Conflict):
    code = "idempotency_in_progress"
    message = "The first request with this Idempotency-Key is still running. Ask again in a moment, with the same key."


class IdempotencyUnfinished(Conflict):
    code = "idempotency_unfinished"
    message = (
        "The first request with this Idempotency-Key changed something, and its answer could not be kept. "
        "Look at what is there before you send it again with a new key."
    )


class Gone(AppError):
    status, code, message = 410, "gone", "This has expired."


class BodyTooLarge(AppError):
    status, code, message = 413, "body_too_large", "The request body is larger than 1 MB."


class UnsupportedMediaType(AppError):
    status, code, message = 415, "unsupported_media_type", "Send the body as application/json."


class ValidationFailed(AppError):
    status, code, message = 422, "validation_failed", "Some values are not right."


class UrlNotAllowed(ValidationFailed):
    code, message = "url_not_allowed", "Requests may not go to this address."


class RateLimited(AppError):
    status, code, message = 429, "rate_limited", "Too many requests. Wait a moment and try again."


class Busy(AppError):
    status, code, message = 503, "busy", "The server is busy. Try again in a moment."


class StorageUnavailable(AppError):
    status, code, message = 503, "storage_unavailable", "The storage does not answer. Try again in a moment."
