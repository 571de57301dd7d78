"""Files that were sound once: cut off, with bits turned, with bytes of others before or behind them."""

import io
import random
import zipfile

from tests.videos.hostile.kit import BROKEN, TAKEN, Hostile, Kit, box, hostile

REFUSED = ("unsupported_container", "corrupt_media")


def _cut(name: str, container: str, part: float, *codes: str, words: tuple[str, ...] = ()) -> Hostile:
    def make(kit: Kit) -> bytes:
        data = kit.clip(f"plain.{container}", *words)
        return data[: round(len(data) * part) if part <= 1 else round(part)]

    facts = {"width": 320, "height": 180}
    return hostile("truncated", f"{name}.{container}", make, *codes, facts=facts)


def _flipped(container: str, seed: int, share: float) -> Hostile:
    """So large a share of the bytes changed in one bit, the same ones each time."""

    def make(kit: Kit) -> bytes:
        data = bytearray(kit.clip(f"plain.{container}"))
        chance = random.Random(seed)
        for _ in range(max(1, round(len(data) * share))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return bytes(data)

    return hostile("bit-flipped", f"flipped-{seed}.{container}", make, *BROKEN, facts={})


def _scrambled_index(seed: int) -> Hostile:
    """The pictures are sound, forty bytes of the index are not."""

    def make(kit: Kit) -> bytes:
        data = bytearray(kit.mp4())
        start, end = data.index(b"moov") + 4, data.index(b"mdat") - 4
        chance = random.Random(seed)
        for _ in range(40):
            data[chance.randrange(start, end)] = chance.randrange(256)
        return bytes(data)

    return hostile("bit-flipped", f"index-{seed}.mp4", make, *BROKEN, facts={})


def _zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil.sh", "echo evil\n" * 100)
        archive.writestr("zeros", bytes(10_000_000))
    return buffer.getvalue()


PAGE = b"<!doctype html><html><body><script>alert(document.domain)</script></body></html>"


def _page_in_front(kit: Kit) -> bytes:
    """A box that players skip, with a page in it, before everything."""
    return box(b"free", PAGE) + kit.clip("end.mp4")


def _made(name: str, kind: str, *words: str, codes: tuple[str, ...] = REFUSED) -> Hostile:
    """What ffmpeg makes of the words in one format, called by the name of another."""
    own, _, called = name.rpartition("=")
    return hostile(kind, called, lambda kit: kit.made(own, *words), *codes)


PICTURE = ("-f", "lavfi", "-i", "testsrc=duration=2:size=320x180:rate=25")
SOUND = ("-f", "lavfi", "-i", "sine=duration=2")

FILES = [
    _cut("faststart-10", "mp4", 0.1, *BROKEN, words=("-movflags", "+faststart")),
    _cut("faststart-50", "mp4", 0.5, TAKEN, words=("-movflags", "+faststart")),
    _cut("faststart-99", "mp4", 0.99, TAKEN, words=("-movflags", "+faststart")),
    _cut("index-gone", "mp4", 0.9, "corrupt_media"),
    _cut("index-cut", "mp4", 0.97, "corrupt_media"),
    _cut("only-a-head", "mp4", 32, "corrupt_media"),
    _cut("three-bytes", "mp4", 3, *REFUSED),
    _cut("index-gone", "mov", 0.5, "corrupt_media"),
    _cut("head", "mkv", 300, "corrupt_media"),
    _cut("half", "mkv", 0.5, TAKEN),
    _cut("head", "webm", 200, "corrupt_media"),
    _cut("half", "webm", 0.5, TAKEN),
    _cut("head", "avi", 400, "corrupt_media"),
    _cut("half", "avi", 0.5, TAKEN),
    _cut("half", "ts", 0.5, TAKEN),
    _cut("two-packets", "ts", 376, *REFUSED, "no_video_stream"),
    hostile("truncated", "beginning-gone.ts", lambda kit: kit.clip("plain.ts")[1001:], TAKEN, facts={"width": 320}),
    hostile("truncated", "beginning-gone.mkv", lambda kit: kit.clip("plain.mkv")[1001:], *REFUSED),
    hostile("truncated", "nothing.mp4", lambda kit: b"", "corrupt_media"),
    hostile("truncated", "one-byte.mkv", lambda kit: b"\x1a", *REFUSED),
    *[_flipped("mp4", seed, share) for seed, share in ((1, 0.0005), (2, 0.002), (3, 0.01), (4, 0.05))],
    *[_flipped("mkv", seed, share) for seed, share in ((5, 0.0005), (6, 0.002), (7, 0.01))],
    *[_flipped("webm", seed, share) for seed, share in ((8, 0.001), (9, 0.01))],
    *[_flipped("avi", seed, share) for seed, share in ((10, 0.001), (11, 0.01))],
    *[_flipped("ts", seed, share) for seed, share in ((12, 0.001), (13, 0.01))],
    *[_scrambled_index(seed) for seed in range(20, 26)],
    hostile("polyglot", "zip-behind.mp4", lambda kit: kit.mp4() + _zipped(), TAKEN),
    hostile("polyglot", "zip-behind.mkv", lambda kit: kit.clip("plain.mkv") + _zipped(), TAKEN),
    hostile("polyglot", "zip-in-front.mp4", lambda kit: _zipped() + kit.mp4(), *REFUSED),
    hostile("polyglot", "page-behind.mp4", lambda kit: kit.mp4() + PAGE, TAKEN),
    hostile("polyglot", "page-in-a-box.mp4", _page_in_front, TAKEN, *REFUSED),
    hostile("polyglot", "page-in-front.mp4", lambda kit: PAGE + kit.mp4(), *REFUSED, TAKEN),
    hostile("polyglot", "pdf-in-front.mp4", lambda kit: b"%PDF-1.7\n%\xe2\xe3\n" * 9 + kit.mp4(), *REFUSED),
    hostile("polyglot", "picture-in-front.mp4", lambda kit: b"GIF89a\1\0\1\0\0\0\0;" + kit.mp4(), *REFUSED),
    hostile("polyglot", "two-films.mp4", lambda kit: kit.mp4() * 2, TAKEN),
    hostile("polyglot", "webm-behind.mp4", lambda kit: kit.mp4() + kit.clip("plain.webm"), TAKEN),
    hostile("renamed", "prose.mp4", lambda kit: b"Dear diary,\n" * 500, *REFUSED),
    hostile("renamed", "program.mov", lambda kit: b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\x3e\0" * 500, *REFUSED),
    hostile("renamed", "zeros.mp4", lambda kit: bytes(1_000_000), *REFUSED),
    hostile("renamed", "ones.avi", lambda kit: b"\xff" * 1_000_000, *REFUSED),
    hostile("renamed", "noise.mkv", lambda kit: random.Random(30).randbytes(500_000), *REFUSED),
    hostile("renamed", "archive.mp4", lambda kit: _zipped(), *REFUSED),
    _made("a.jpg=jpeg.mp4", "renamed", *PICTURE, "-frames:v", "1"),
    _made("a.png=png.mov", "renamed", *PICTURE, "-frames:v", "1"),
    _made("a.gif=gif.mp4", "renamed", *PICTURE, "-frames:v", "5"),
    _made("a.bmp=bmp.avi", "renamed", *PICTURE, "-frames:v", "1"),
    _made("a.tiff=tiff.mkv", "renamed", *PICTURE, "-frames:v", "1"),
    _made("a.wmv=wmv.mp4", "renamed", *PICTURE),
    _made("a.flv=flv.mov", "renamed", *PICTURE),
    _made("a.mpg=program-stream.mp4", "renamed", *PICTURE),
    _made("a.ogv=ogg.webm", "renamed", *PICTURE, "-c:v", "libtheora"),
    _made("a.mxf=mxf.mp4", "renamed", *PICTURE),
    _made("a.nut=nut.mkv", "renamed", *PICTURE),
    _made("a.y4m=frames.avi", "renamed", *PICTURE, "-frames:v", "2", "-pix_fmt", "yuv420p"),
    _made("a.h264=bare.mp4", "renamed", *PICTURE, "-pix_fmt", "yuv420p"),
    _made("a.m4v=bare-mpeg4.mp4", "renamed", *PICTURE, "-f", "m4v"),
    _made("a.ts=transport-stream.mp4", "renamed", *PICTURE, codes=(TAKEN,)),
    _made("a.mkv=matroska.mp4", "renamed", *PICTURE, codes=(TAKEN,)),
    _made("a.3gp=phone.avi", "renamed", *PICTURE, "-c:v", "mpeg4", codes=(TAKEN,)),
    _made("a.wav=wav.avi", "renamed", *SOUND),
    _made("a.mp3=mp3.mp4", "renamed", *SOUND),
    _made("a.m4a=sound.mp4", "renamed", *SOUND, codes=("no_video_stream",)),
    _made("a.mka=sound.mkv", "renamed", *SOUND, "-c:a", "pcm_s16le", codes=("no_video_stream",)),
    _made("a.flac=flac.mkv", "renamed", *SOUND),
]
