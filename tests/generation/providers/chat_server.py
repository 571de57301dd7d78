"""A server that makes videos behind `/v1/chat/completions`, in the dialects that are out there."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.generation.providers.videos_server import KEY
from tests.generation.providers.wire import Asked, Reset, Server, chunk, head, said, whole

DONE = b"data: [DONE]\n\n"


def piece(content: str | None = None, *, reasoning: str | None = None, finish: str | None = None) -> dict[str, Any]:
    delta = {name: text for name, text in (("content", content), ("reasoning_content", reasoning)) if text is not None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "sora-2",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def line(body: object, end: str = "\n\n") -> bytes:
    return f"data: {json.dumps(body, ensure_ascii=False)}{end}".encode()


def percents_then_link(url: str) -> Iterator[bytes]:
    """Percents as text, then a Markdown link that comes in pieces."""
    yield line(piece("> Progress: 1"))
    yield line(piece("2.5%\n"))
    yield line(piece("> Progress: 36.0%\n> Progress: 100%\n"))
    for part in ("[Watch ", "the video](", url[:17], url[17:31], url[31:], ")\n"):
        yield line(piece(part))
    yield line(piece(finish="stop"))
    yield DONE


def thinking_then_tag(url: str) -> Iterator[bytes]:
    """Progress in `reasoning_content`, then HTML with an escaped query; STOP in capitals, CRLF, no [DONE]."""
    yield b": keep-alive\r\n\r\n"
    for percent in (5, 50, 90):
        yield line(piece(reasoning=f"生成进度:{percent}%\n"), "\r\n\r\n")
    tagged = f'<video controls width="480"><source type="video/mp4" src="{url}?a=1&amp;b=2"></video>'
    for start in range(0, len(tagged), 7):
        yield line(piece(tagged[start : start + 7]), "\r\n\r\n")
    yield line(piece(finish="STOP"), "\r\n\r\n")


def bare_address(url: str) -> Iterator[bytes]:
    """No progress; a picture and a bare address at the very end, no blank lines between the events."""
    yield line(piece(f"poster: {url}.jpg "), "\n")
    yield line(piece(f"Done: {url}"), "\n")
    yield line(piece("", finish="stop"), "\n")
    yield DONE


def all_at_once(url: str) -> Iterator[bytes]:
    """One event with everything, and parts instead of a string."""
    parts = [{"type": "text", "text": "Here it is"}, {"type": "video_url", "video_url": {"url": url}}]
    whole_thing = piece(finish="stop")
    whole_thing["choices"][0]["delta"]["content"] = parts
    yield line(whole_thing)
    yield DONE


DIALECTS: dict[str, Callable[[str], Iterator[bytes]]] = {
    "percents_then_link": percents_then_link,
    "thinking_then_tag": thinking_then_tag,
    "bare_address": bare_address,
    "all_at_once": all_at_once,
}


@dataclass
class ChatServer(Server):
    """Streams what its dialect says, cut into pieces of `slice_bytes`; the video lies on it too."""

    dialect: str = "percents_then_link"
    video: bytes = b""
    slice_bytes: int = 7
    #: The stream ends after so many bytes, without its end; with `reset` by a reset.
    cut_after: int | None = None
    reset: bool = False
    #: It stops talking, and keeps the line open, after so many bytes.
    stall_after: int | None = None
    #: Instead of all that: one whole answer, or a text.
    instead: bytes | None = None
    text: str | None = None
    finish: str = "stop"
    fetched: list[Asked] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"{self.url}/v1"

    @property
    def posts(self) -> int:
        return self.count("POST")

    @property
    def link(self) -> str:
        return f"{self.url}/files/video%20of%20a%20fox.mp4"

    async def answer(self, asked: Asked) -> AsyncIterator[bytes]:
        if asked.path.startswith("/files/"):
            self.fetched.append(asked)
            yield whole(200, self.video, Content_Type="video/mp4")
            return
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            yield said(401, {"error": {"message": f"Invalid token {KEY}", "type": "new_api_error"}})
            return
        assert asked.json["stream"] is True
        if self.instead is not None:
            yield self.instead
            return
        yield head(200, Content_Type="text/event-stream; charset=utf-8", Transfer_Encoding="chunked")
        stream = b"".join(DIALECTS[self.dialect](self.link) if self.text is None else self._plain())
        for start in range(0, len(stream), self.slice_bytes):
            if self.stall_after is not None and start >= self.stall_after:
                await asyncio.sleep(3600)
            if self.cut_after is not None and start >= self.cut_after:
                if self.reset:
                    raise Reset
                return
            yield chunk(stream[start : start + self.slice_bytes])
            await asyncio.sleep(0)
        yield chunk(b"")

    def _plain(self) -> Iterator[bytes]:
        assert self.text is not None
        yield line(piece(self.text))
        yield line(piece(finish=self.finish))
        yield DONE
