"""Video files for tests: the shared folder of real clips where it is present, and awkward ones that ffmpeg makes."""

import csv
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CONTAINERS = {
    "mov,mp4,m4a,3gp,3g2,mj2": ("mp4", "mov"),
    "matroska,webm": ("matroska", "webm"),
    "avi": ("avi",),
}


def corpus_folder() -> Path | None:
    """The folder of real clips (`MEDIA_CORPUS`, else beside the project), or None where there is none."""
    folder = Path(os.environ.get("MEDIA_CORPUS") or PROJECT.parent / "shared" / "media")
    return folder if (folder / "index.csv").is_file() else None


def index_rows() -> list[dict[str, str]]:
    """What the index says of each clip; empty where the folder is absent."""
    folder = corpus_folder()
    if folder is None:
        return []
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Expected:
    """What an index row promises about a clip, in the terms of the product; `code` where it must be refused."""

    path: Path
    code: str | None
    duration: float = 0.0
    width: int = 0
    height: int = 0
    rotation: int = 0
    video_codec: str = ""
    audio_codec: str | None = None
    containers: tuple[str, ...] = ()


def expected(row: dict[str, str]) -> Expected:
    """The display size comes from the stored size, the aspect and the turn; the index's turn is counter-clockwise."""
    folder = corpus_folder()
    assert folder is not None
    path = folder / row["file"]
    if row["ffprobe_rc"] != "0":
        return Expected(path, "corrupt_media")
    if not row["video_codec"]:
        return Expected(path, "no_video_stream")
    width, height = int(row["width"]), int(row["height"])
    top, _, bottom = (row["sar"] or "1:1").partition(":")
    aspect = int(top) / int(bottom)
    width, height = (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))
    rotation = -int(row["rotation"]) % 360
    if rotation in (90, 270):
        width, height = height, width
    return Expected(
        path,
        None,
        float(row["duration_s"]),
        width,
        height,
        rotation,
        row["video_codec"],
        row["audio_codec"] or None,
        CONTAINERS[row["container"]],
    )


def ffmpeg(*words: str | Path) -> None:
    """Run ffmpeg on what tests make; raises CalledProcessError."""
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, words)], check=True, timeout=120)


def picture(seconds: float = 2, size: str = "320x180", rate: int = 25) -> list[str]:
    """Input words for a moving test picture."""
    return ["-f", "lavfi", "-i", f"testsrc=duration={seconds}:size={size}:rate={rate}"]


def tone(seconds: float = 2) -> list[str]:
    """Input words for a sine."""
    return ["-f", "lavfi", "-i", f"sine=duration={seconds}"]


H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
AAC = ["-c:a", "aac"]
# The display matrix of a quarter turn clockwise, of a half turn, of a quarter turn back: a, b, c, d.
MATRICES = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def plain(path: Path) -> None:
    ffmpeg(*picture(), *tone(), *H264, *AAC, "-movflags", "+faststart", path)


def two_colours_turned(path: Path, clockwise: int) -> None:
    """Stored with red on the left and blue on the right; players turn it by `clockwise` degrees."""
    graph = "color=red:s=160x180:d=2,format=yuv420p[a];color=blue:s=160x180:d=2,format=yuv420p[b];[a][b]hstack"
    ffmpeg("-filter_complex", graph, *H264, path)
    data = bytearray(path.read_bytes())
    # tkhd of version 0: type, flags, two times, track, reserved, duration, 16 bytes of other things, then the matrix.
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16
    for slot, value in zip((0, 1, 3, 4), MATRICES[clockwise], strict=True):
        data[at + 4 * slot : at + 4 * slot + 4] = (value * 0x10000).to_bytes(4, "big", signed=True)
    path.write_bytes(data)


def wide_pixels(path: Path) -> None:
    ffmpeg(*picture(), "-vf", "setsar=4/3", *H264, path)


def tall_pixels(path: Path) -> None:
    ffmpeg(*picture(), "-vf", "setsar=3/4", *H264, path)


def variable_rate(path: Path) -> None:
    ffmpeg(*picture(4), "-vf", "select='lt(n,50)+not(mod(n,5))'", "-fps_mode", "vfr", *H264, path)


def hevc_ten_bit(path: Path) -> None:
    ffmpeg(*picture(1), "-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le", path)


def hdr10(path: Path) -> None:
    colours = ["-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc"]
    ffmpeg(*picture(1), "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", *colours, path)


def hdr10_bars(path: Path) -> None:
    """Bars of a television, brightened to HDR, as phones write them."""
    colours = ["-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc"]
    source = ["-f", "lavfi", "-i", "smptehdbars=size=320x180:rate=30:duration=4"]
    bright = "zscale=tin=bt709:min=bt709:pin=bt709:t=smpte2084:p=bt2020:m=bt2020nc:npl=203,format=yuv420p10le"
    coder = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-tag:v", "hvc1"]
    ffmpeg(*source, "-vf", bright, *coder, *colours, path)


def fragmented(path: Path) -> None:
    ffmpeg(*picture(5), *H264, "-g", "25", "-movflags", "frag_keyframe+empty_moov+default_base_moof", path)


def many_tracks(path: Path) -> None:
    ffmpeg(*picture(), *tone(), *tone(), "-map", "0", "-map", "1", "-map", "2", *H264, *AAC, path)


def too_many_tracks(path: Path) -> None:
    ffmpeg(*picture(1), *tone(1), "-map", "0", *["-map", "1"] * 32, *H264, *AAC, path)


def sound_only(path: Path) -> None:
    ffmpeg(*tone(), *AAC, path)


def cover_only(path: Path) -> None:
    """An album track: sound and a still cover, which is a video stream to a careless reader."""
    cover, sound = path.with_name("cover.jpg"), path.with_name("sound.m4a")
    ffmpeg(*picture(1), "-frames:v", "1", cover)
    ffmpeg(*tone(), *AAC, sound)
    ffmpeg(
        "-i",
        sound,
        "-i",
        cover,
        "-map",
        "0",
        "-map",
        "1",
        "-c",
        "copy",
        "-disposition:v:0",
        "attached_pic",
        path,
    )


def untold_duration(path: Path) -> None:
    """WebM as browsers record it: written without going back, so that its head tells no duration."""
    words = [
        "ffmpeg",
        "-nostdin",
        "-v",
        "error",
        *picture(3),
        "-c:v",
        "libvpx",
        "-deadline",
        "realtime",
        "-f",
        "webm",
    ]
    path.write_bytes(subprocess.run([*words, "pipe:1"], check=True, stdout=subprocess.PIPE, timeout=120).stdout)


def dark_start(path: Path) -> None:
    graph = "color=black:s=320x180:d=1:r=25,format=yuv420p[a];testsrc=s=320x180:d=3:r=25,format=yuv420p[b];[a][b]concat"
    ffmpeg("-filter_complex", graph, *H264, "-g", "250", path)


def three_frames(path: Path) -> None:
    ffmpeg(*picture(), "-frames:v", "3", *H264, path)


def loud_tags(path: Path) -> None:
    ffmpeg(*picture(1), *H264, "-metadata", "title=<script>\x07\x1b[31m", "-metadata:s:v", "language=eng", path)


def truncated(path: Path) -> None:
    """The index at the end is cut off."""
    ffmpeg(*picture(), *H264, path)
    path.write_bytes(path.read_bytes()[:-2000])


def half_sent(path: Path) -> None:
    """The index is whole and at the front, half of the pictures are missing."""
    ffmpeg(*picture(4), *H264, "-movflags", "+faststart", path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def hollow(path: Path) -> None:
    """A sound index over nothing but zeros: probes clean, decodes to nothing."""
    ffmpeg(*picture(), *H264, "-movflags", "+faststart", path)
    data = path.read_bytes()
    body = data.index(b"mdat") + 4
    path.write_bytes(data[:body] + b"\0" * (len(data) - body))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def prose(path: Path) -> None:
    path.write_text("Dear diary,\n" * 500)


def noise(path: Path) -> None:
    path.write_bytes(bytes((7919 * n * n + n) % 251 for n in range(50_000)))


def encoded(*words: str) -> Callable[[Path], None]:
    """A maker of the plain test picture in other codecs; the container follows the file's name."""
    return lambda path: ffmpeg(*picture(), *tone(), *words, path)
