"""Files on this side: read in pieces by several senders, written as they come."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

#: A path, or a binary file that can be read at any place.
File = str | os.PathLike[str] | BinaryIO
#: Called with the bytes that are through and with all there are. What it raises ends the transfer.
OnProgress = Callable[[int, int], None]

_CHUNK = 256 * 1024
_SAMPLE = 1024 * 1024


class Source:
    """A file that is sent. Opened here when it was given by its path, and then closed here."""

    def __init__(self, file: File) -> None:
        self._lock = threading.Lock()
        self._own: BinaryIO | None = None
        if isinstance(file, str | os.PathLike):
            self._own = Path(file).open("rb")  # noqa: SIM115 — close() does
            self._file: BinaryIO = self._own
        else:
            if not file.seekable():
                raise ValueError("the file must be seekable: parts of it are read out of turn, and perhaps again")
            self._file = file
        name = getattr(self._file, "name", None)
        self.name: str | None = Path(name).name if isinstance(name, str) else None
        self.size = self._file.seek(0, os.SEEK_END)

    def read(self, offset: int, size: int) -> bytes:
        """Raises ValueError: when it has become shorter meanwhile."""
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(size)
        if not data and size:
            raise ValueError("the file has become shorter while it was sent")
        return data

    def fingerprint(self) -> str:
        """By which the platform's pages know a file again too: of its first MiB, its last and its size."""
        digest = hashlib.sha256()
        last = max(_SAMPLE, self.size - _SAMPLE)
        for begin, end in ((0, min(_SAMPLE, self.size)), (last, self.size)):
            while begin < end:
                data = self.read(begin, end - begin)
                digest.update(data)
                begin += len(data)
        digest.update(str(self.size).encode())
        return digest.hexdigest()

    def close(self) -> None:
        if self._own is not None:
            self._own.close()


class Meter:
    """Adds up what several senders have sent. One at a time tells it."""

    def __init__(self, total: int, on_progress: OnProgress | None) -> None:
        self._total = total
        self._tell = on_progress
        self._lock = threading.Lock()
        self._through: dict[int, int] = {}

    def set(self, number: int, size: int) -> None:
        """So much of this piece is through, less than before when it has to be sent again."""
        with self._lock:
            self._through[number] = size
            if self._tell is not None:
                self._tell(sum(self._through.values()), self._total)


class Piece:
    """A part of a file on its way."""

    def __init__(self, source: Source, number: int, offset: int, size: int, meter: Meter) -> None:
        self.size = size
        self._source = source
        self._number = number
        self._offset = offset
        self._meter = meter

    def read(self, offset: int) -> bytes:
        return self._source.read(self._offset + offset, min(_CHUNK, self.size - offset))

    def passed(self, offset: int) -> None:
        self._meter.set(self._number, offset)


class Sink:
    """Where a download goes. By path: beside it first, and in its place only when it is whole."""

    def __init__(self, to: File) -> None:
        self._path = Path(to) if isinstance(to, str | os.PathLike) else None
        self._file: BinaryIO
        if self._path is not None:
            self._beside = self._path.with_name(self._path.name + ".part")
            self._file = self._beside.open("wb")
        elif not isinstance(to, str | os.PathLike):
            self._file = to

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def finish(self) -> None:
        if self._path is None:
            self._file.flush()
        else:
            self._file.close()
            self._beside.replace(self._path)

    def give_up(self) -> None:
        """Nothing when it is finished."""
        if self._path is not None:
            self._file.close()
            self._beside.unlink(missing_ok=True)
