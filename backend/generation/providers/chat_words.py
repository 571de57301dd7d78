"""What chat servers say while they make a video: a stream of events, percents in words, and at last a link.

Seen in the wild: "36.0%" or "Progress: 36%", cut anywhere, in `content` or in `reasoning_content`; then a Markdown
link, an HTML `<video src>` or a bare address, which may come in pieces; `finish_reason` "stop" or "STOP"; `[DONE]`, or
just an end. Everything is read from the whole text so far, never from a single piece.
"""

import codecs
import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

DONE = "[DONE]"

# A return at the very end may be the first half of an end of line.
_END_OF_LINE = re.compile(r"\r\n|\n|\r(?!\Z)")
_ADDRESS = r"https?://[^\s<>\"'`]+"
_TAG = re.compile(rf"<(?:video|source)\b[^>]*?\bsrc\s*=\s*([\"'])({_ADDRESS})\1", re.IGNORECASE)
_MARKDOWN = re.compile(
    r"\[[^\]]*\]\(\s*<?(https?://[^\s<>\"'`()]*(?:\([^\s()]*\)[^\s<>\"'`()]*)*)>?(?:\s+\"[^\"]*\")?\s*\)"
)
_BARE = re.compile(_ADDRESS)
_PERCENT = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d+)?)\s?[%％]")
_VIDEO = (".mp4", ".webm", ".mov", ".m4v", ".mkv")
_NO_VIDEO = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".svg", ".html", ".json")


class Stream:
    """Server-sent events out of pieces of bytes that may be cut anywhere, inside a character too."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes, *, last: bool = False) -> Iterator[str]:
        """The data of each event that is whole now; with the `last` piece, of what is left as well."""
        *lines, self._rest = _END_OF_LINE.split(self._rest + self._decode(chunk))
        if last:
            lines += [self._rest, ""]
        for line in lines:
            if line.startswith("data:"):
                # Some send no blank line between events: what is whole by itself is one.
                if _is_whole(self._data):
                    yield self._event()
                self._data.append(line[5:].strip())
            if self._data and (not line or self._data == [DONE]):
                yield self._event()

    def _event(self) -> str:
        data, self._data = "\n".join(self._data), []
        return data


def _is_whole(data: list[str]) -> bool:
    try:
        return bool(data) and json.loads("\n".join(data)) is not None
    except (ValueError, RecursionError):
        return False


@dataclass
class Said:
    """All that was said so far, and how it ended."""

    content: str = ""
    reasoning: str = ""
    reason: str = ""  #: `finish_reason`, in lower case
    model: str = ""
    closed: bool = False  #: the answer itself is known to be whole

    @property
    def ended(self) -> bool:
        """Whether it came to its end by itself, so that nothing of it is missing."""
        return (self.closed or bool(self.reason)) and self.reason != "length"

    def take(self, whole: Mapping[str, Any]) -> float | None:
        """One chunk of a stream, or the whole answer of who knows no streams; answers the percent it named, if any."""
        if isinstance(whole.get("model"), str):
            self.model = whole["model"]
        choices = whole.get("choices")
        percent = None
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            part = choice.get("delta") or choice.get("message")
            if isinstance(part, dict):
                if thought := _text(part.get("reasoning_content") or part.get("reasoning")):
                    self.reasoning += thought
                    percent = percent_in(self.reasoning)
                if text := _text(part.get("content")):
                    self.content += text
                    percent = percent_in(self.content) or percent
            if isinstance(choice.get("finish_reason"), str):
                self.reason = choice["finish_reason"].lower()
        return percent


def percent_in(text: str) -> float | None:
    """The last percent that is named; below 100, because the video itself still has to come."""
    # In addresses a percent sign is something else.
    numbers = [float(each) for each in _PERCENT.findall(_BARE.sub(" ", text[-2000:]))]
    return next((min(each, 99.0) for each in reversed(numbers) if each <= 100), None)


def link_in(text: str, *, cut: bool) -> str | None:
    """The address of the video. `cut`: the text may go on, so that an address at its very end may not be whole."""
    tags = [html.unescape(match[2]) for match in _TAG.finditer(text)]
    if tags:
        return tags[-1]
    marked = [match[1] for match in _MARKDOWN.finditer(text)]
    bare = [
        html.unescape(match[0].rstrip(".,;:!?)]}*_"))
        for match in _BARE.finditer(text)
        if not (cut and match.end() == len(text))
    ]
    for links in (marked, bare):
        if named := [each for each in links if _path(each).endswith(_VIDEO)]:
            return named[-1]
    others = [each for each in (*bare, *marked) if not _path(each).endswith(_NO_VIDEO)]
    return others[-1] if others else None


def _path(address: str) -> str:
    try:
        return urlsplit(address).path.lower()
    except ValueError:
        return ""


def _text(content: object) -> str:
    """A string, or the parts that some send instead."""
    if isinstance(content, list):
        content = "".join(str(part.get("text") or _link(part)) for part in content if isinstance(part, dict))
    # Half a character, escaped in JSON, is none that could be kept.
    return content.encode(errors="replace").decode() if isinstance(content, str) else ""


def _link(part: dict[str, Any]) -> str:
    inner = part.get("video_url")
    url = inner.get("url") if isinstance(inner, dict) else inner
    return f" {url} " if isinstance(url, str) else ""
