"""Why an upload is refused: each cause has its own code and its own words."""

from backend.config import settings
from backend.core.errors import AppError, Conflict, Gone
from backend.core.words import filesize


class FileTooLarge(AppError):
    status, code = 413, "file_too_large"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or f"Files may be at most {settings.max_upload_size_mb} MB.")


class UnsupportedType(AppError):
    status, code = 415, "unsupported_type"
    message = "Only MP4, MOV, AVI, WebM and MKV files are taken, and the type must agree with the file's extension."


class UploadMissing(Conflict):
    code, message = "upload_missing", "The file has not arrived in the storage. Upload it, then confirm again."


class UploadMismatch(Conflict):
    code, message = "upload_mismatch", "What arrived has another size than was announced. Upload the file again."


class UploadExpired(Gone):
    code, message = (
        "upload_expired",
        "The time for this upload is over. Not all of the file arrived. Start a new upload.",
    )


class PartsInvalid(Conflict):
    code, message = "parts_invalid", "Not all parts have arrived in full. Send those that are missing, then try again."


class QuotaExceeded(Conflict):
    code = "quota_exceeded"

    def __init__(self, left_bytes: int) -> None:
        left = f"{filesize(left_bytes)} are left" if left_bytes > 0 else "Nothing is left"
        super().__init__(f"{left} of your storage. Delete videos or give up open uploads to make room.")
