"""The words of chat servers, by hand: streams cut anywhere, percents that are none, links that are not whole."""

import json
import random

import pytest

from backend.generation.providers.chat_words import Said, Stream, link_in, percent_in
from tests.generation.providers.chat_server import DIALECTS

URL = "https://cdn.example.org/v/fox%20run.mp4"


def events(stream: bytes, *cuts: int) -> list[str]:
    reader, before = Stream(), 0
    found: list[str] = []
    for cut in (*cuts, len(stream)):
        found += reader.feed(stream[before:cut])
        before = cut
    return found + list(reader.feed(b"", last=True))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_says_the_same_wherever_it_is_cut(dialect: str) -> None:
    stream = b"".join(DIALECTS[dialect](URL))
    whole = events(stream)
    assert len(whole) >= 2
    for cut in range(len(stream)):
        assert events(stream, cut) == whole, cut
    chance = random.Random(7)
    for _ in range(50):
        assert events(stream, *sorted(chance.sample(range(len(stream)), 40))) == whole


def test_ends_of_lines_of_every_kind_and_comments() -> None:
    stream = b': hello\rdata: {"a": 1}\r\revent: x\r\ndata: {"b":\r\ndata: 2}\r\n\r\ndata:{"c": 3}\ndata: {"d": 4}\n\n'
    assert [json.loads(each) for each in events(stream)] == [{"a": 1}, {"b": 2}, {"c": 3}, {"d": 4}]


def test_a_separator_inside_a_text_ends_no_line() -> None:
    stream = 'data: {"text": "one\u2028two\x85three"}\n\n'.encode()
    assert [json.loads(each)["text"] for each in events(stream)] == ["one\u2028two\x85three"]


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ("36.0%", 36.0),
        ("Progress: 5%\nProgress: 17.5 %", 17.5),
        ("进度:80%", 80.0),
        ("100%", 99.0),
        ("250% sure", None),
        ("v1.5%", 1.5),
        ("https://x.example/a%20b%2Fc", None),
        ("12% https://x.example/90%25", 12.0),
        ("no number %", None),
        ("", None),
    ],
)
def test_percents_are_found_among_words(text: str, percent: float | None) -> None:
    assert percent_in(text) == percent


@pytest.mark.parametrize(
    ("text", "link"),
    [
        (f"[Watch it]({URL})", URL),
        (f"![video](<{URL}>)", URL),
        (f'[Watch it]({URL} "the fox")', URL),
        ("[a](https://x.example/a_(1).mp4)", "https://x.example/a_(1).mp4"),
        (f"<video src='{URL}?a=1&amp;b=2' controls></video>", f"{URL}?a=1&b=2"),
        (f'<video controls>\n<source\n src="{URL}" /></video>', URL),
        (f"poster https://x.example/p.jpg and {URL}.", URL),
        (f"**{URL}**", URL),
        ("https://x.example/download?id=5", "https://x.example/download?id=5"),
        (f"first https://x.example/old.mp4 then {URL}", URL),
        ("a picture: https://x.example/p.png", None),
        ("ftp://x.example/a.mp4", None),
        ("sorry, I cannot do that", None),
        ("[broken](https://", None),
        ("http://[::1", "http://[::1"),
    ],
)
def test_the_link_to_the_video_is_found(text: str, link: str | None) -> None:
    assert link_in(text, cut=False) == link


def test_of_a_text_that_was_cut_only_an_address_with_an_end_counts() -> None:
    assert link_in("Done: https://x.example/a.mp", cut=True) is None
    assert link_in("Done: https://x.example/a.mp4 and", cut=True) == "https://x.example/a.mp4"
    assert link_in("[v](https://x.example/a.mp4)", cut=True) == "https://x.example/a.mp4"
    assert link_in('<video src="https://x.example/a.mp', cut=True) is None


@pytest.mark.parametrize("chunk", [{}, {"choices": None}, {"choices": [1]}, {"choices": [{"delta": 5}]}, {"model": 3}])
def test_chunks_of_another_shape_say_nothing(chunk: dict[str, object]) -> None:
    said = Said()
    assert said.take(chunk) is None
    assert said == Said()
