"""How numbers and times are said on pages and in messages."""

from datetime import UTC, datetime

STATUS_TITLES = {
    400: "The request could not be read",
    401: "Log in to continue",
    403: "This is not allowed",
    404: "Nothing here",
    405: "This cannot be done here",
    410: "This has expired",
    413: "Too large",
    429: "A little slower, please",
    500: "Something went wrong",
    503: "Back in a moment",
}


def filesize(size_bytes: int | float | None) -> str:
    """Bytes as people say them, in decimal units: `812 bytes`, `4.2 MB`, `1.35 GB`."""
    if size_bytes is None:
        return "–"
    if size_bytes < 1000:
        return f"{int(size_bytes)} bytes"
    value = float(size_bytes)
    for unit, digits in (("KB", 0), ("MB", 1), ("GB", 2), ("TB", 2)):
        value /= 1000
        if round(value, digits) < 1000 or unit == "TB":
            break
    return f"{value:.{digits}f} {unit}"


def duration(seconds: float | None) -> str:
    """A running time as players show it: `0:07`, `12:34`, `1:02:03`; `0.5 s` below one second."""
    if seconds is None:
        return "–"
    if 0 < seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def span(seconds: float) -> str:
    """How long something took: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = whole // 60 % 60
    return f"{whole // 3600} h {minutes} min" if minutes else f"{whole // 3600} h"


def ago(moment: datetime | None, *, now: datetime | None = None) -> str:
    """The age of a moment in words: `just now`, `5 minutes ago`, `yesterday`, `12 Mar 2026`."""
    if moment is None:
        return "never"
    current = now or datetime.now(UTC)
    seconds = (current - moment).total_seconds()
    if seconds < 45:
        return "just now"
    for size, below, name in ((60, 3600, "minute"), (3600, 86_400, "hour")):
        if seconds < below - size / 2:
            count = max(1, round(seconds / size))
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    days = (current.date() - moment.date()).days
    if days <= 1:
        return "yesterday"
    if days < 30:
        return f"{days} days ago"
    return f"{moment.day} {moment:%b %Y}"


def timestamp(moment: datetime | None) -> str:
    """A moment exactly, in UTC: `12 Mar 2026, 14:05:09 UTC`."""
    return f"{moment.day} {moment:%b %Y, %H:%M:%S} UTC" if moment else "–"
