"""Files that lie about their pictures: size, turn and the shape of a pixel."""

import struct

from tests.videos import media_corpus as corpus
from tests.videos.hostile.kit import BROKEN, TAKEN, Kit, hostile, u32, within

SIZE = {"width": 320, "height": 180}
MAX = 0xFFFFFFFF


def _motion_jpeg(kit: Kit, width: int, height: int) -> bytes:
    """An AVI whose header and pictures claim a size."""
    data = kit.made("mjpeg.avi", *corpus.picture(1), "-c:v", "mjpeg", "-q:v", "9")
    data = within(data, b"strf", 8, struct.pack("<II", width, height))
    return data.replace(struct.pack(">HH", 180, 320), struct.pack(">HH", height, width))


def _display(kit: Kit, *matrix: float) -> bytes:
    """The plain clip with this a, b, c, d in its display matrix."""
    data = kit.mp4()
    for slot, value in zip((0, 1, 3, 4), matrix, strict=True):
        data = within(data, b"tkhd", 40 + 4 * slot, struct.pack(">i", round(value * 0x10000)))
    return data


def _pixels_of(kit: Kit, wide: int, tall: int) -> bytes:
    data = kit.clip(
        "sar.mp4", "-vf", "setsar=4/3", "-movflags", "+faststart", "-bsf:v", "h264_metadata=sample_aspect_ratio=1/1"
    )
    return within(data, b"pasp", 0, u32(wide, tall))


FILES = [
    hostile(
        "dimensions",
        "mjpeg-65500.avi",
        lambda kit: _motion_jpeg(kit, 65500, 65500),
        "dimensions_too_large",
        "corrupt_media",
    ),
    hostile(
        "dimensions",
        "mjpeg-header-only.avi",
        lambda kit: within(
            kit.made("mjpeg.avi", *corpus.picture(1), "-c:v", "mjpeg", "-q:v", "9"),
            b"strf",
            8,
            struct.pack("<II", 30000, 30000),
        ),
        "dimensions_too_large",
        TAKEN,
        facts=SIZE,
    ),
    hostile(
        "dimensions",
        "vp8-16383.webm",
        lambda kit: within(kit.clip("plain.webm"), b"\x9d\x01\x2a", 0, struct.pack("<HH", 16383, 16383)),
        *BROKEN,
        facts=SIZE,
    ),
    hostile("dimensions", "track-65535.mp4", lambda kit: within(kit.mp4(), b"tkhd", 76, u32(MAX, MAX)), TAKEN),
    hostile(
        "dimensions",
        "description-65535.mp4",
        lambda kit: within(kit.mp4(), b"avc1", 24, b"\xff\xff\xff\xff", nth=1),
        TAKEN,
        "dimensions_too_large",
    ),
    hostile(
        "dimensions",
        "raw-32767.avi",
        lambda kit: within(
            kit.made("raw.avi", *corpus.picture(0.2), "-c:v", "rawvideo", "-pix_fmt", "bgr24"),
            b"strf",
            8,
            struct.pack("<ii", 32767, 32767),
        ),
        "dimensions_too_large",
    ),
    hostile(
        "dimensions",
        "raw-negative.avi",
        lambda kit: within(
            kit.made("raw.avi", *corpus.picture(0.2), "-c:v", "rawvideo", "-pix_fmt", "bgr24"),
            b"strf",
            8,
            struct.pack("<ii", -320, -(2**31)),
        ),
        *BROKEN,
        facts={},
    ),
    hostile(
        "dimensions",
        "9000-wide.mp4",
        lambda kit: kit.made("wide.mp4", "-f", "lavfi", "-i", "color=s=9000x64:d=0.1", *corpus.H264),
        "dimensions_too_large",
    ),
    hostile(
        "dimensions",
        "8-by-8.mp4",
        lambda kit: kit.made("dot.mp4", "-f", "lavfi", "-i", "color=s=8x8:d=1", "-c:v", "mpeg4"),
        "corrupt_media",
    ),
    hostile(
        "dimensions",
        "no-size.mkv",
        lambda kit: kit.made("plain-mpeg4.mkv", *corpus.picture(1), "-c:v", "mpeg4").replace(
            bytes.fromhex("b082") + b"\x01\x40", bytes.fromhex("b082") + b"\0\0"
        ),
        *BROKEN,
        facts=SIZE,
    ),
    hostile(
        "rotation",
        "45-degrees.mp4",
        lambda kit: _display(kit, 0.7071, 0.7071, -0.7071, 0.7071),
        TAKEN,
        facts={"duration": 2.0},
    ),
    hostile("rotation", "all-zero.mp4", lambda kit: _display(kit, 0, 0, 0, 0), TAKEN),
    hostile(
        "rotation",
        "30000-fold.mp4",
        lambda kit: _display(kit, 30000, -30000, 30000, 30000),
        TAKEN,
        facts={"duration": 2.0},
    ),
    hostile("rotation", "mirrored.mp4", lambda kit: _display(kit, -1, 0, 0, 1), TAKEN),
    hostile(
        "aspect", "1-to-65535.mp4", lambda kit: _pixels_of(kit, 1, 65535), TAKEN, facts={"height": 180, "duration": 2.0}
    ),
    hostile(
        "aspect",
        "4-billion.mp4",
        lambda kit: _pixels_of(kit, MAX, 1),
        TAKEN,
        "corrupt_media",
        facts={"height": 180, "duration": 2.0},
    ),
    hostile(
        "aspect",
        "nothing-to-nothing.mp4",
        lambda kit: _pixels_of(kit, 0, 0),
        TAKEN,
        facts={"height": 180, "duration": 2.0},
    ),
]
