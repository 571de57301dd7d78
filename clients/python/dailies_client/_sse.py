"""Server-sent events out of the bytes of a stream."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One event; `retry_seconds` is how long to wait before coming back, where it says so."""

    name: str
    data: str
    id: str | None
    retry_seconds: float | None


class Reader:
    """Takes the bytes as they come, in pieces of any size."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that are complete by now."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        events = []
        for line in lines:
            text = line.rstrip(b"\r").decode(errors="replace")
            if text:
                self._take(text)
            elif self._fields:
                events.append(self._event())
                self._fields = {}
        return events

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        if not name:  # a comment, which keeps the connection alive
            return
        value = value.removeprefix(" ")
        if name == "data" and "data" in self._fields:
            value = f"{self._fields['data']}\n{value}"
        self._fields[name] = value

    def _event(self) -> Event:
        retry = self._fields.get("retry", "")
        return Event(
            name=self._fields.get("event", "message"),
            data=self._fields.get("data", ""),
            id=self._fields.get("id"),
            retry_seconds=int(retry) / 1000 if retry.isdecimal() else None,
        )
