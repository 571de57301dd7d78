"""What an attempt tells of itself: the end of its log, and the tools it ran. For people who look for a cause."""

import re

#: How much of the log is kept: its end.
LOG_BYTES = 4096
#: How much of the commands is kept: their beginning.
COMMAND_BYTES = 16 * 1024

_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]*://)(?:[^\s/@?#]*@)?([^\s?#'\"]*)([?#][^\s'\"]*)?", re.IGNORECASE)
# What Postgres refuses, and what would move a terminal's cursor.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]|[\ud800-\udfff]")


class Notes:
    """Collects lines and commands; `version` grows with each."""

    def __init__(self) -> None:
        self.version = 0
        self._log = b""
        self._commands = b""

    def note(self, line: str) -> None:
        """Add a line to the log."""
        self._log = (self._log + _clean(line).encode() + b"\n")[-LOG_BYTES:]
        self.version += 1

    def command(self, text: str) -> None:
        """Add a command, one a line; it may hold signed addresses."""
        self._commands = (self._commands + _clean(text).replace("\n", " ").encode() + b"\n")[:COMMAND_BYTES]
        self.version += 1

    @property
    def log_tail(self) -> str | None:
        return self._log.decode(errors="ignore").rstrip("\n") or None

    @property
    def commands(self) -> str | None:
        return self._commands.decode(errors="ignore").rstrip("\n") or None


def without_signatures(text: str) -> str:
    """Addresses in the text lose their user, query and fragment: that is where signatures are."""
    return _ADDRESS.sub(lambda found: f"{found[1]}{found[2]}{'?…' if found[3] else ''}", text)


def _clean(text: str) -> str:
    return _CONTROL.sub("�", without_signatures(text))
