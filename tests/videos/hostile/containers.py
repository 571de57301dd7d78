"""Traps in AVI, Matroska and transport streams, and films that are locked or change on the way."""

import random
import struct

from tests.videos import media_corpus as corpus
from tests.videos.hostile.kit import BROKEN, TAKEN, Kit, chunk, element, hostile, master, span, within

SIZE = {"width": 320, "height": 180}
MAX = 0xFFFFFFFF


# --- AVI --------------------------------------------------------------------------------------------------------------


def _avi(kit: Kit) -> bytes:
    return kit.clip("plain.avi")


def _index_of_itself(kit: Kit) -> bytes:
    """An OpenDML index of indexes whose entries all point at itself."""
    data = bytearray(_avi(kit))
    at = data.find(b"indx")
    if at < 0:  # ffmpeg leaves room for one
        at = data.index(b"JUNK")
        data[at : at + 4] = b"indx"
    size = struct.unpack("<I", data[at + 4 : at + 8])[0]
    count = (size - 24) // 16
    head = struct.pack("<HBBI4sIII", 4, 0, 0, count, b"00dc", 0, 0, 0)
    data[at + 8 : at + 8 + size] = (head + struct.pack("<QII", at, size, 1) * count).ljust(size, b"\0")[:size]
    return bytes(data)


def _lists(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = chunk(b"LIST", b"hdrl", inner)
    return b"RIFF" + struct.pack("<I", len(inner) + 4) + b"AVI " + inner


def _old_index(kit: Kit) -> bytes:
    """An index whose every entry points at the first picture."""
    data = bytearray(_avi(kit))
    at = data.rindex(b"idx1") + 8
    for entry in range(at, len(data) - 15, 16):
        data[entry + 8 : entry + 16] = struct.pack("<II", 4, MAX)
    return bytes(data)


AVI = [
    hostile("avi", "frames-4-billion.avi", lambda kit: within(_avi(kit), b"avih", 20, struct.pack("<I", MAX)), TAKEN),
    hostile(
        "avi",
        "length-lies.avi",
        lambda kit: within(_avi(kit), b"vidsFMP4", 24, struct.pack("<I", 0x7FFFFFFF)),
        TAKEN,
        "duration_too_long",
        facts=SIZE,
    ),
    hostile("avi", "streams-4-billion.avi", lambda kit: within(_avi(kit), b"avih", 28, struct.pack("<I", MAX)), TAKEN),
    hostile("avi", "size-of-nothing.avi", lambda kit: within(_avi(kit), b"RIFF", 0, bytes(4)), TAKEN),
    hostile(
        "avi", "size-of-everything.avi", lambda kit: within(_avi(kit), b"movi", -8, b"\xff" * 4), *BROKEN, facts=SIZE
    ),
    hostile("avi", "index-of-itself.avi", _index_of_itself, *BROKEN, facts=SIZE),
    hostile("avi", "index-to-one-place.avi", _old_index, *BROKEN, facts=SIZE),
    hostile("avi", "lists-in-lists.avi", lambda kit: _lists(2000), "corrupt_media"),
    hostile(
        "avi",
        "format-of-4-billion.avi",
        lambda kit: within(_avi(kit), b"strf", 0, b"\xff\xff\xff\x7f"),
        *BROKEN,
        facts=SIZE,
    ),
]


# --- Matroska ---------------------------------------------------------------------------------------------------------

HEAD = element("1a45dfa3", element("4282", b"matroska"), element("4287", b"\4"), element("4285", b"\2"))
UNKNOWN = b"\x01\xff\xff\xff\xff\xff\xff\xff"


def _seeks_itself(kit: Kit) -> bytes:
    """A table of contents whose only entry is the table of contents, a thousand times, before the clip's own parts."""
    data = kit.clip("live.mkv", "-f", "matroska", "-live", "1")
    at = master(data, "1549a966")
    seek = element("4dbb", element("53ab", bytes.fromhex("114d9b74")), element("53ac", b"\0"))
    return data[:at] + element("114d9b74", seek * 1000) + data[at:]


def _masters(identity: str, depth: int) -> bytes:
    """Masters of unknown size in each other."""
    return HEAD + bytes.fromhex("18538067") + UNKNOWN + (bytes.fromhex(identity) + UNKNOWN) * depth


def _squeezed(kit: Kit) -> bytes:
    """A track that says its frames are compressed with zlib; they are not."""
    data = kit.clip("live.mkv", "-f", "matroska", "-live", "1")
    coding = element("6d80", element("6240", element("5034", element("4254", b"\0"))))
    at = master(data, "1654ae6b")
    start, end = span(data, at, "1654ae6b")
    entry = data.index(b"\xae", start)
    first, last = span(data, entry, "ae")
    tracks = data[start:entry] + element("ae", data[first:last], coding) + data[last:end]
    return data[:at] + element("1654ae6b", tracks) + data[end:]


MATROSKA = [
    hostile("matroska", "contents-of-itself.mkv", _seeks_itself, TAKEN, facts=SIZE),
    hostile("matroska", "clusters-in-clusters.mkv", lambda kit: _masters("1f43b675", 50_000), "corrupt_media"),
    hostile("matroska", "tracks-in-tracks.mkv", lambda kit: _masters("1654ae6b", 50_000), "corrupt_media"),
    hostile(
        "matroska",
        "size-of-everything.mkv",
        lambda kit: within(kit.clip("plain.mkv"), bytes.fromhex("1549a966"), 0, b"\x08\xff\xff\xff\xff", nth=1),
        *BROKEN,
        facts=SIZE,
    ),
    hostile(
        "matroska",
        "scale-of-nothing.mkv",
        lambda kit: kit.clip("plain.mkv").replace(bytes.fromhex("2ad7b1830f4240"), bytes.fromhex("2ad7b183000000")),
        *BROKEN,
        facts=SIZE,
    ),
    hostile(
        "matroska",
        "scale-of-ages.mkv",
        lambda kit: kit.clip("plain.mkv").replace(bytes.fromhex("2ad7b1830f4240"), bytes.fromhex("2ad7b183ffffff")),
        *BROKEN,
        facts=SIZE,
    ),
    hostile("matroska", "not-compressed-at-all.mkv", _squeezed, "corrupt_media", TAKEN, facts=SIZE),
    hostile("matroska", "many-heads.mkv", lambda kit: HEAD * 20_000, "corrupt_media"),
    hostile(
        "matroska",
        "another-document.mkv",
        lambda kit: kit.clip("plain.mkv").replace(b"matroska", b"evil9b2c", 1),
        *BROKEN,
        facts=SIZE,
    ),
]


# --- transport streams ------------------------------------------------------------------------------------------------


def _packets(seed: int, count: int) -> bytes:
    """Packets with the right mark and nothing else right."""
    chance = random.Random(seed)
    return b"".join(b"\x47" + chance.randbytes(187) for _ in range(count))


def _one_pid(kit: Kit) -> bytes:
    """Every packet on the pid of the table of programs."""
    data = bytearray(kit.clip("plain.ts"))
    for at in range(0, len(data), 188):
        data[at + 1 : at + 3] = bytes([data[at + 1] & 0xE0, 0])
    return bytes(data)


STREAMS = [
    hostile("transport", "noise.ts", lambda kit: _packets(40, 5000), *BROKEN, facts={}),
    hostile("transport", "one-pid.ts", _one_pid, *BROKEN, facts={}),
    hostile("transport", "only-tables.ts", lambda kit: kit.clip("plain.ts")[: 188 * 3] * 500, *BROKEN, facts={}),
    hostile("transport", "joined-twice.ts", lambda kit: kit.clip("plain.ts") * 3, TAKEN, facts=SIZE),
]


# --- locked, changing ------------------------------------------------------------------------------------------------

LOCK = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb")
KEY = ("-encryption_kid", "a7e61c373e219033c21091fa607bf3b8")


def _changing(kit: Kit) -> bytes:
    """The size changes in the middle of the stream."""
    other = kit.made(
        "other.ts",
        "-f",
        "lavfi",
        "-i",
        "testsrc=duration=1:size=640x360:rate=25",
        *corpus.H264,
        "-output_ts_offset",
        "2",
    )
    return kit.clip("plain.ts") + other


def _unknown_codec(kit: Kit) -> bytes:
    return kit.mp4().replace(b"avc1", b"ev1l").replace(b"avcC", b"ev1C")


def _hollow(kit: Kit) -> bytes:
    data = kit.mp4()
    body = data.index(b"mdat") + 4
    return data[:body] + bytes(len(data) - body)


def _noisy(kit: Kit) -> bytes:
    data = kit.mp4()
    body = data.index(b"mdat") + 4
    return data[:body] + random.Random(50).randbytes(len(data) - body)


OTHERS = [
    hostile("locked", "cenc.mp4", lambda kit: kit.clip("locked.mp4", *LOCK, *KEY), "unsupported_container"),
    hostile(
        "locked",
        "cenc-fragments.mp4",  # its fragments do not say where their keys belong
        lambda kit: kit.clip("locked.mp4", "-movflags", "frag_keyframe+empty_moov", *LOCK, *KEY),
        "unsupported_container",
        "corrupt_media",
    ),
    hostile("codec", "unknown.mp4", _unknown_codec, "corrupt_media"),
    hostile("codec", "hollow.mp4", _hollow, "corrupt_media"),
    hostile("codec", "noise-for-pictures.mp4", _noisy, "corrupt_media", TAKEN),
    hostile("codec", "changes-size.ts", _changing, TAKEN, facts={}),
    hostile("codec", "settings-gone.mp4", lambda kit: within(kit.mp4(), b"avcC", 0, b"\xff" * 30), *BROKEN, facts=SIZE),
    hostile("codec", "other-codec-told.mp4", lambda kit: kit.mp4().replace(b"avc1", b"hvc1"), *BROKEN, facts={}),
    hostile("codec", "sound-lies.mp4", lambda kit: within(kit.mp4(), b"mp4a", 16, b"\xff\xff\xff\xff", nth=0), TAKEN),
]

FILES = [*AVI, *MATROSKA, *STREAMS, *OTHERS]
