"""Files whose headers lie or ask for too much: boxes, counts, times, rates, streams and words."""

import struct
import zlib

from tests.videos import media_corpus as corpus
from tests.videos.hostile.kit import BROKEN, PLAIN, TAKEN, Kit, box, element, full, grown, hostile, u32, within

SIZE = {"width": 320, "height": 180}
MAX = 0xFFFFFFFF


def _end(kit: Kit) -> bytes:
    """The plain clip with its index at the end, so that the index may grow."""
    return kit.clip("end.mp4")


# --- boxes and their sizes --------------------------------------------------------------------------------------------


def _nested(kind: bytes, depth: int) -> bytes:
    """Boxes in boxes; sizes only, from the outermost inwards."""
    return b"".join(u32(8 * (depth - level)) + kind for level in range(depth))


def _compressed_bomb(kit: Kit) -> bytes:
    """A compressed index of 80 MB of zeros, which claims to be 4 GB."""
    packed = zlib.compress(bytes(80_000_000), 9)
    return box(b"ftyp", b"qt  ", u32(0)) + box(
        b"moov", box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", u32(MAX - 16), packed))
    )


def _looped_sidx(kit: Kit) -> bytes:
    """An index that refers to itself, over fragments."""
    data = kit.clip("frag.mp4", "-movflags", "frag_keyframe+empty_moov+default_base_moof")
    at = data.index(b"moof") - 4
    loop = full(b"sidx", u32(1, 1000, 0, 0), b"\0\0\0\2", u32(0x80000000 | 44, 1000, 0, 0x80000000, 1000, 0))
    return data[:at] + loop * 3 + data[at:]


def _mfra_loop(kit: Kit) -> bytes:
    data = kit.clip("frag.mp4", "-movflags", "frag_keyframe+empty_moov+default_base_moof")
    entries = b"".join(struct.pack(">QQBBB", 0, data.index(b"moof") - 4, 1, 1, 1) for _ in range(20_000))
    table = box(b"tfra", b"\1\0\0\0", u32(1, 0, 20_000), entries)
    return data + box(b"mfra", table, full(b"mfro", u32(len(table) + 24)))


BOXES = [
    hostile("boxes", "nested.mp4", lambda kit: kit.mp4() + _nested(b"moov", 60_000), TAKEN, "corrupt_media"),
    hostile("boxes", "nested-alone.mp4", lambda kit: _nested(b"moov", 100_000), "corrupt_media"),
    hostile(
        "boxes",
        "nested-tracks.mov",
        lambda kit: box(b"ftyp", b"qt  ", u32(0)) + _nested(b"trak", 50_000),
        "corrupt_media",
    ),
    hostile(
        "boxes",
        "nested-words.mp4",
        lambda kit: grown(_end(kit), [b"moov"], _nested(b"udta", 20_000)),
        TAKEN,
        "corrupt_media",
    ),
    hostile("boxes", "many-empty.mp4", lambda kit: kit.mp4() + box(b"free") * 300_000, TAKEN),
    hostile("boxes", "size-of-everything.mp4", lambda kit: kit.mp4() + u32(1) + b"free" + b"\x7f" + b"\xff" * 7, TAKEN),
    hostile("boxes", "size-of-nothing.mp4", lambda kit: within(kit.mp4(), b"free", -8, u32(2)), *BROKEN),
    hostile("boxes", "size-past-the-end.mp4", lambda kit: within(kit.mp4(), b"mdat", -8, u32(0x7FFFFFFF)), TAKEN),
    hostile("boxes", "index-past-the-end.mp4", lambda kit: within(kit.mp4(), b"moov", -8, u32(0x7FFFFFFF)), *BROKEN),
    hostile(
        "boxes", "samples-2-billion.mp4", lambda kit: within(kit.mp4(), b"stsz", 8, u32(0x7FFFFFFF)), *BROKEN, facts={}
    ),
    hostile(
        "boxes",
        "samples-one-size.mp4",
        lambda kit: within(kit.mp4(), b"stsz", 4, u32(1, 0x7FFFFFFF)),
        *BROKEN,
        facts={},
    ),
    hostile("boxes", "times-4-billion.mp4", lambda kit: within(kit.mp4(), b"stts", 4, u32(MAX)), *BROKEN, facts=SIZE),
    hostile("boxes", "times-repeat.mp4", lambda kit: within(kit.mp4(), b"stts", 8, u32(MAX, MAX)), *BROKEN, facts=SIZE),
    hostile("boxes", "chunks-4-billion.mp4", lambda kit: within(kit.mp4(), b"stco", 4, u32(MAX)), *BROKEN, facts=SIZE),
    hostile(
        "boxes",
        "chunks-past-the-end.mp4",
        lambda kit: within(kit.mp4(), b"stco", 8, u32(0xFFFFFF00)),
        *BROKEN,
        facts=SIZE,
    ),
    hostile(
        "boxes", "map-of-chunks.mp4", lambda kit: within(kit.mp4(), b"stsc", 8, u32(0, MAX, MAX)), *BROKEN, facts=SIZE
    ),
    hostile(
        "boxes", "descriptions-4-billion.mp4", lambda kit: within(kit.mp4(), b"stsd", 4, u32(MAX)), *BROKEN, facts=SIZE
    ),
    hostile("boxes", "no-sync-samples.mp4", lambda kit: within(kit.mp4(), b"stss", 4, u32(MAX)), *BROKEN, facts=SIZE),
    hostile("boxes", "compressed-bomb.mov", _compressed_bomb, "corrupt_media", "resource_limit"),
    hostile("boxes", "index-of-itself.mp4", _looped_sidx, TAKEN, "corrupt_media", facts=SIZE),
    hostile("boxes", "fragment-table.mp4", _mfra_loop, TAKEN, facts=SIZE),
]


# --- times, rates and streams -----------------------------------------------------------------------------------------


def _movie_says(kit: Kit, seconds: int) -> bytes:
    """Movie, track and media headers claim a length; the table of times does not."""
    data = within(kit.mp4(), b"mvhd", 12, u32(1000, seconds * 1000))
    data = within(data, b"tkhd", 20, u32(seconds * 1000))
    scale = int.from_bytes(data[data.index(b"mdhd") + 16 : data.index(b"mdhd") + 20], "big")
    return within(data, b"mdhd", 16, u32(seconds * scale))


def _matroska_says(kit: Kit, milliseconds: float) -> bytes:
    return within(kit.clip("plain.mkv"), bytes.fromhex("448988"), 0, struct.pack(">d", milliseconds))


def _edits(kit: Kit, *entries: tuple[int, int, int]) -> bytes:
    table = b"".join(u32(duration, start & MAX, rate) for duration, start, rate in entries)
    edits = box(b"edts", full(b"elst", u32(len(entries)), table))
    return grown(_end(kit), [b"moov", b"trak"], edits, replace=b"edts")


def _rate(kit: Kit, scale: int, rate: int) -> bytes:
    return within(kit.clip("plain.avi"), b"vidsFMP4", 12, struct.pack("<II", scale, rate))


def _streams(kit: Kit, name: str, count: int) -> bytes:
    sound = kit.folder / "tone.m4a"
    corpus.ffmpeg(*corpus.tone(0.2), *corpus.AAC, sound)
    return kit.made(
        name,
        *corpus.picture(0.2),
        "-i",
        str(sound),
        "-map",
        "0:v",
        *["-map", "1:a"] * count,
        *corpus.H264,
        "-c:a",
        "copy",
    )


TIMES = [
    hostile("duration", "10-hours-claimed.mp4", lambda kit: _movie_says(kit, 36_000), TAKEN),
    hostile("duration", "1000-hours-claimed.mp4", lambda kit: _movie_says(kit, 3_600_000), TAKEN, "duration_too_long"),
    hostile(
        "duration",
        "10-hours-claimed.mkv",
        lambda kit: _matroska_says(kit, 36e6),
        TAKEN,
        facts={**SIZE, "duration": 36_000.0},
    ),
    hostile("duration", "100-hours-claimed.mkv", lambda kit: _matroska_says(kit, 360e6), "duration_too_long"),
    hostile("duration", "negative.mkv", lambda kit: _matroska_says(kit, -5.0), TAKEN),
    hostile("duration", "not-a-number.mkv", lambda kit: _matroska_says(kit, float("nan")), TAKEN, facts=SIZE),
    hostile("duration", "infinite.mkv", lambda kit: _matroska_says(kit, float("inf")), TAKEN, facts=SIZE),
    hostile(
        "duration",
        "100-hours-of-frames.mp4",
        lambda kit: kit.made(
            "slow.mp4",
            *corpus.picture(0.2),
            "-vf",
            "setpts=N*90000/TB",
            "-vsync",
            "vfr",
            "-video_track_timescale",
            "1000",
            *corpus.H264,
        ),
        "duration_too_long",
    ),
    hostile(
        "edits",
        "100000.mp4",
        lambda kit: _edits(kit, *[(1, n % 50_000, 0x10000) for n in range(100_000)]),
        *BROKEN,
        facts=SIZE,
    ),
    hostile("edits", "past-the-end.mp4", lambda kit: _edits(kit, (2000, 0x7FFFFFFF, 0x10000)), *BROKEN, facts=SIZE),
    hostile("edits", "all-empty.mp4", lambda kit: _edits(kit, (0x7FFFFFFF, -1, 0x10000)), *BROKEN, facts=SIZE),
    hostile(
        "edits", "rate-of-nothing.mp4", lambda kit: _edits(kit, (2000, 0, 0), (0, 0, 0x7FFF0000)), *BROKEN, facts=SIZE
    ),
    hostile(
        "rates",
        "1000-a-second.mp4",
        lambda kit: kit.made("fast.mp4", *corpus.picture(1, "320x180", 1000), *corpus.H264),
        TAKEN,
        facts={**SIZE, "duration": 1.0, "fps": 1000.0},
    ),
    hostile("rates", "no-time-between.mp4", lambda kit: within(kit.mp4(), b"stts", 12, u32(0)), *BROKEN, facts=SIZE),
    hostile("rates", "scale-of-nothing.mp4", lambda kit: within(kit.mp4(), b"mdhd", 12, u32(0)), *BROKEN, facts=SIZE),
    hostile("rates", "none.avi", lambda kit: _rate(kit, 0, 0), *BROKEN, facts=SIZE),
    hostile("rates", "4-billion.avi", lambda kit: _rate(kit, 1, MAX), *BROKEN, facts=SIZE),
    hostile("rates", "one-in-ages.avi", lambda kit: _rate(kit, 0x7FFFFFFF, 1), "duration_too_long", TAKEN, facts=SIZE),
    hostile(
        "rates",
        "a-nanosecond.mkv",
        lambda kit: kit.clip("plain.mkv").replace(
            bytes.fromhex("23e38384") + struct.pack(">I", 40_000_000), bytes.fromhex("23e38384") + u32(1)
        ),
        TAKEN,
        facts=SIZE,
    ),
    hostile(
        "timestamps",
        "before-nothing.mkv",
        lambda kit: kit.clip("early.mkv", "-output_ts_offset", "-10", "-avoid_negative_ts", "disabled"),
        *BROKEN,
        facts=SIZE,
    ),
    hostile(
        "timestamps",
        "wrapped-around.ts",
        lambda kit: kit.clip("late.ts", "-output_ts_offset", "95442.5"),
        TAKEN,
        facts=PLAIN,
    ),
    hostile(
        "timestamps",
        "a-leap.mkv",
        lambda kit: kit.made(
            "leap.mkv", *corpus.picture(), "-vf", "setpts=PTS+gt(N\\,25)*36000/TB", "-vsync", "vfr", *corpus.H264
        ),
        TAKEN,
        facts=SIZE,
    ),
    hostile("streams", "120.mp4", lambda kit: _streams(kit, "many.mp4", 119), "too_many_streams"),
    hostile("streams", "120.mkv", lambda kit: _streams(kit, "many.mkv", 119), "too_many_streams"),
    hostile("streams", "40.ts", lambda kit: _streams(kit, "many.ts", 39), "too_many_streams"),
    hostile("streams", "200-of-them.mov", lambda kit: _streams(kit, "many.mov", 199), "too_many_streams"),
    hostile("streams", "cover-only.mp4", lambda kit: _cover(kit), "no_video_stream"),
]


def _cover(kit: Kit) -> bytes:
    path = kit.folder / "cover-only.mp4"
    corpus.cover_only(path)
    return path.read_bytes()


# --- words ------------------------------------------------------------------------------------------------------------

LOUD = "<script>evil-9b2c</script>\x1b[31m\u202egnp.exe'\"; DROP TABLE videos;--"


def _tagged(kit: Kit, name: bytes, text: bytes) -> bytes:
    item = box(name, box(b"data", u32(1, 0), text))
    meta = full(b"meta", full(b"hdlr", u32(0), b"mdirappl", bytes(9)), box(b"ilst", item))
    return grown(_end(kit), [b"moov"], box(b"udta", meta), replace=b"udta")


def _nested_tags(depth: int) -> bytes:
    tag = element("67c8", element("45a3", b"X"))
    for _ in range(depth):
        tag = element("67c8", tag)
    return element("1254c367", element("7373", tag))


WORDS = [
    hostile("tags", "loud.mp4", lambda kit: _tagged(kit, b"\xa9nam", LOUD.encode()), TAKEN),
    hostile(
        "tags",
        "not-text.mp4",
        lambda kit: _tagged(kit, b"\xa9nam", b"evil-9b2c\0\xff\xfe\xc3\x28\xed\xa0\x80" * 9),
        TAKEN,
    ),
    hostile("tags", "a-megabyte.mp4", lambda kit: _tagged(kit, b"\xa9cmt", b"evil-9b2c" * 120_000), TAKEN),
    hostile(
        "tags",
        "a-megabyte.mkv",
        lambda kit: (
            kit.clip("plain.mkv")
            + element(
                "1254c367",
                element("7373", element("67c8", element("45a3", b"T"), element("4487", b"evil-9b2c" * 120_000))),
            )
        ),
        TAKEN,
    ),
    hostile("tags", "nested.mkv", lambda kit: kit.clip("plain.mkv") + _nested_tags(3000), TAKEN),
    hostile(
        "tags",
        "language.mkv",
        lambda kit: kit.clip("lang.mkv", "-metadata:s:v", "language=evil-9b2c<b>", "-metadata:s:a", "title=evil-9b2c"),
        TAKEN,
    ),
    hostile(
        "tags",
        "maker.mov",
        lambda kit: kit.clip(
            "loud.mov", "-metadata", f"title={LOUD}", "-metadata:s:v", "handler_name=evil-9b2c" + "x" * 9000
        ),
        TAKEN,
    ),
    hostile("tags", "brand.mp4", lambda kit: within(kit.mp4(), b"ftyp", 0, b"<\0\x1b>"), TAKEN),
    hostile(
        "tags",
        "cover-of-10-mb.mp4",
        lambda kit: _tagged(kit, b"covr", b"\xff\xd8\xff" + b"evil-9b2c" * 1_100_000),
        TAKEN,
    ),
    hostile(
        "tags",
        "chapters.mp4",
        lambda kit: grown(
            _end(kit),
            [b"moov"],
            box(
                b"udta", full(b"chpl", b"\0\0\0\0\xff", *[struct.pack(">QB", n, 9) + b"evil-9b2c" for n in range(255)])
            ),
            replace=b"udta",
        ),
        TAKEN,
    ),
]

FILES = [*BOXES, *TIMES, *WORDS]
