"""Real and made files go through the probe and come out as what they are, or with the right code."""

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.videos.media import Limits, MediaError, MediaInfo, poster, probe
from tests.videos import media_corpus as corpus

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")


def made(folder: Path, name: str, maker: Callable[[Path], None]) -> str:
    path = folder / name
    maker(path)
    return f"file:{path}"


async def refused(source: str, **options: Any) -> MediaError:
    with pytest.raises(MediaError) as caught:
        await probe(source, **options)
    return caught.value


async def pixels(source: str, info: MediaInfo, folder: Path, **options: Any) -> tuple[tuple[int, int], bytes]:
    """The poster's size, and its picture shrunk to 4 × 4, three bytes a pixel."""
    dest = folder / "poster.jpg"
    await poster(source, dest, info, **options)
    seen = await probe_jpeg(dest)
    words = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(dest),
        "-vf",
        "scale=4:4:flags=area",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
    ]
    done = await asyncio.to_thread(subprocess.run, [*words, "-"], check=True, stdout=subprocess.PIPE)
    return seen, done.stdout


async def probe_jpeg(path: Path) -> tuple[int, int]:
    words = ["ffprobe", "-v", "error", "-of", "csv=p=0", "-show_entries", "stream=width,height", str(path)]
    done = await asyncio.to_thread(subprocess.run, words, check=True, stdout=subprocess.PIPE)
    assert path.read_bytes().startswith(b"\xff\xd8\xff")
    width, height = done.stdout.decode().strip().split(",")
    return int(width), int(height)


# --- Real clips ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(corpus.corpus_folder() is None, reason="no folder of real clips (MEDIA_CORPUS)")
@pytest.mark.parametrize("row", corpus.index_rows(), ids=lambda row: row["file"])
async def test_a_real_clip_is_what_the_index_says(row: dict[str, str], tmp_path: Path) -> None:
    want = corpus.expected(row)
    source = f"file:{want.path}"
    if want.code:
        assert (await refused(source)).code == want.code
        return
    info = await probe(source)
    assert (info.width, info.height, info.rotation) == (want.width, want.height, want.rotation)
    assert (info.coded_width, info.coded_height) == (int(row["width"]), int(row["height"]))
    assert info.duration == pytest.approx(want.duration, abs=0.1)
    assert (info.video_codec, info.audio_codec) == (want.video_codec, want.audio_codec)
    assert info.audio_channels == (int(row["audio_channels"]) if row["audio_channels"] else None)
    assert (info.video_profile, info.pix_fmt) == (row["profile"], row["pix_fmt"])
    assert info.container in want.containers
    assert len(info.streams) == len(row["streams"].split())
    assert info.size_bytes == int(row["bytes"])
    if row["vfr"]:
        assert info.vfr is (row["vfr"] == "VFR")
    size, _ = await pixels(source, info, tmp_path)
    assert size[0] == min(1280, info.width)
    assert size[0] / size[1] == pytest.approx(info.width / info.height, rel=0.01)


# --- Made clips: what is taken ------------------------------------------------------------------------------------

TOP, LEFT = slice(0, 12), slice(0, 6)


@pytest.mark.parametrize(("clockwise", "size", "red_first"), [(90, (180, 320), True), (270, (180, 320), False)])
async def test_a_quarter_turn_shows_upright(
    clockwise: int, size: tuple[int, int], red_first: bool, tmp_path: Path
) -> None:
    source = made(tmp_path, "a.mp4", lambda path: corpus.two_colours_turned(path, clockwise))
    info = await probe(source)
    assert (info.rotation, (info.width, info.height)) == (clockwise, size)
    assert (info.coded_width, info.coded_height) == (320, 180)
    seen, picture = await pixels(source, info, tmp_path)
    assert seen == size
    assert (picture[0] > 200) is red_first, "red belongs above after a clockwise turn, below after the other"
    assert (picture[-3] > 200) is not red_first


async def test_a_half_turn_shows_upright(tmp_path: Path) -> None:
    source = made(tmp_path, "a.mov", lambda path: corpus.two_colours_turned(path, 180))
    info = await probe(source)
    assert (info.container, info.rotation, info.width, info.height) == ("mov", 180, 320, 180)
    seen, picture = await pixels(source, info, tmp_path)
    assert seen == (320, 180)
    assert (picture[2] > 200, picture[9] > 200) == (True, True), "blue is on the left now, red on the right"


@pytest.mark.parametrize(("maker", "size"), [(corpus.wide_pixels, (427, 180)), (corpus.tall_pixels, (320, 240))])
async def test_oblong_pixels_are_shown_at_their_size(
    maker: Callable[[Path], None], size: tuple[int, int], tmp_path: Path
) -> None:
    source = made(tmp_path, "a.mp4", maker)
    info = await probe(source)
    assert (info.width, info.height) == size
    assert (await pixels(source, info, tmp_path))[0] == size


CODECS = [
    ("a.mp4", ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"], "mp4", "h264", "aac", True),
    ("a.mov", ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"], "mov", "h264", "aac", True),
    (
        "a.mov",
        ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "pcm_s16le"],
        "mov",
        "h264",
        "pcm_s16le",
        False,
    ),
    ("a.mp4", ["-c:v", "libx264", "-pix_fmt", "yuv444p", "-c:a", "aac"], "mp4", "h264", "aac", False),
    ("a.mkv", ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"], "matroska", "h264", "aac", False),
    ("a.webm", ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"], "webm", "vp8", "opus", True),
    ("a.avi", ["-c:v", "mpeg4", "-c:a", "libmp3lame"], "avi", "mpeg4", "mp3", False),
    ("a.ts", ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"], "mpegts", "h264", "aac", False),
]


@pytest.mark.parametrize(("name", "words", "container", "video", "audio", "playable"), CODECS)
async def test_containers_and_codecs_are_told(
    name: str, words: list[str], container: str, video: str, audio: str, playable: bool, tmp_path: Path
) -> None:
    info = await probe(made(tmp_path, name, corpus.encoded(*words)))
    assert (info.container, info.video_codec, info.audio_codec) == (container, video, audio)
    assert info.duration == pytest.approx(2.0, abs=0.15)
    assert info.fps == pytest.approx(25, rel=0.01)
    assert (info.vfr, info.has_audio) == (False, True)
    assert info.playable is playable
    assert bool(info.not_playable_reason) is not playable


async def test_a_variable_frame_rate_is_told(tmp_path: Path) -> None:
    assert (await probe(made(tmp_path, "a.mp4", corpus.variable_rate))).vfr


@pytest.fixture
async def hevc() -> None:
    """An encoder for HEVC, or the test is left out."""
    encoders = await asyncio.to_thread(subprocess.run, ["ffmpeg", "-v", "error", "-encoders"], stdout=subprocess.PIPE)
    if b"libx265" not in encoders.stdout:
        pytest.skip("this ffmpeg has no HEVC encoder")


async def test_ten_bit_hevc_is_told(tmp_path: Path, hevc: None) -> None:
    info = await probe(made(tmp_path, "a.mp4", corpus.hevc_ten_bit))
    assert (info.video_codec, info.bit_depth, info.hdr, info.playable) == ("hevc", 10, None, False)


async def test_hdr_is_told_and_its_poster_is_not_flat(tmp_path: Path) -> None:
    source = made(tmp_path, "a.mp4", corpus.hdr10)
    info = await probe(source)
    assert (info.hdr, info.bit_depth) == ("hdr10", 10)
    _, picture = await pixels(source, info, tmp_path)
    assert max(picture) - min(picture) > 60


async def test_an_hdr_poster_has_the_colours_people_see(tmp_path: Path, hevc: None) -> None:
    source = made(tmp_path, "a.mov", corpus.hdr10_bars)
    _, picture = await pixels(source, await probe(source), tmp_path)
    colours = [picture[at : at + 3] for at in range(0, 48, 3)]
    assert max(max(each) - min(each) for each in colours) > 40, "without tone mapping the bars are pale"


async def test_a_fragmented_file_has_its_whole_duration(tmp_path: Path) -> None:
    assert (await probe(made(tmp_path, "a.mp4", corpus.fragmented))).duration == pytest.approx(5.0, abs=0.1)


async def test_a_duration_the_file_does_not_tell_is_measured(tmp_path: Path) -> None:
    assert (await probe(made(tmp_path, "a.webm", corpus.untold_duration))).duration == pytest.approx(3.0, abs=0.1)


async def test_all_streams_are_listed(tmp_path: Path) -> None:
    info = await probe(made(tmp_path, "a.mp4", corpus.many_tracks))
    assert [stream["type"] for stream in info.streams] == ["video", "audio", "audio"]


async def test_a_clip_of_three_frames_has_a_poster(tmp_path: Path) -> None:
    source = made(tmp_path, "a.mp4", corpus.three_frames)
    assert (await pixels(source, await probe(source), tmp_path))[0] == (320, 180)


async def test_the_poster_of_a_dark_start_is_not_black(tmp_path: Path) -> None:
    source = made(tmp_path, "a.mp4", corpus.dark_start)
    _, picture = await pixels(source, await probe(source), tmp_path)
    assert max(picture) > 100
    assert [path.name for path in tmp_path.iterdir() if "other" in path.name] == []


async def test_posters_are_made_narrower_never_wider(tmp_path: Path) -> None:
    source = made(tmp_path, "a.mp4", corpus.plain)
    info = await probe(source)
    assert (await pixels(source, info, tmp_path, max_width=160))[0] == (160, 90)
    assert (await pixels(source, info, tmp_path, max_width=4000))[0] == (320, 180)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
async def test_half_a_file_is_taken_when_a_frame_decodes_and_says_what_is_missing(name: str, tmp_path: Path) -> None:
    info = await probe(made(tmp_path, name, corpus.half_sent))
    assert (info.video_codec, info.playable) == ("h264", False), "browsers stop where the rest is missing"
    assert info.missing_bytes == pytest.approx(info.size_bytes, abs=1)
    assert info.duration == pytest.approx(4, abs=0.1), "of the whole: the index tells nothing else"


async def test_a_file_that_was_cut_off_before_its_first_picture_is_refused_in_these_words(tmp_path: Path) -> None:
    source = made(tmp_path, "a.mp4", corpus.half_sent)
    path = tmp_path / "a.mp4"
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 12])
    error = await refused(source)
    assert (error.code, error.message) == ("corrupt_media", "The file ends before its first picture. Upload it again.")


WHOLE = [
    ("a.mp4", ["-movflags", "+faststart"]),
    ("a.mov", ["-movflags", "+faststart"]),
    ("a.mp4", []),
    ("a.mp4", ["-movflags", "frag_keyframe+empty_moov"]),
    ("a.mkv", []),
    ("a.avi", ["-bsf:v", "h264_mp4toannexb"]),
    ("a.ts", []),
]


@pytest.mark.parametrize(("name", "words"), WHOLE)
async def test_nothing_of_a_whole_file_is_missing(name: str, words: list[str], tmp_path: Path) -> None:
    source = made(tmp_path, name, corpus.encoded(*corpus.H264, *corpus.AAC, *words))
    assert (await probe(source)).missing_bytes is None


async def test_a_fragmented_file_that_was_cut_off_tells_how_long_it_still_is(tmp_path: Path) -> None:
    source = made(tmp_path, "a.mp4", corpus.fragmented)
    path = tmp_path / "a.mp4"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    info = await probe(source)
    assert info.missing_bytes is None
    assert 2 <= (info.duration or 0) <= 4, "of five seconds, in fragments of one"


async def test_free_text_of_the_file_stays_in_the_file(tmp_path: Path) -> None:
    info = await probe(made(tmp_path, "a.mp4", corpus.loud_tags))
    assert "script" not in repr(vars(info))
    assert info.streams[0]["language"] == "eng"


async def test_names_with_odd_characters_are_only_names(tmp_path: Path) -> None:
    source = made(tmp_path, "100% 'a' [b];c=%03d, -y.mp4", corpus.plain)
    assert (await pixels(source, await probe(source), tmp_path))[0] == (320, 180)


# --- Made clips: what is refused ----------------------------------------------------------------------------------

REFUSED: list[tuple[str, Callable[[Path], None], str]] = [
    ("sound.mp4", corpus.sound_only, "no_video_stream"),
    ("cover.m4a", corpus.cover_only, "no_video_stream"),
    ("many.mp4", corpus.too_many_tracks, "too_many_streams"),
    ("truncated.mp4", corpus.truncated, "corrupt_media"),
    ("hollow.mp4", corpus.hollow, "corrupt_media"),
    ("empty.mp4", corpus.empty, "corrupt_media"),
    ("text.mp4", corpus.prose, "corrupt_media"),
    ("noise.mp4", corpus.noise, "corrupt_media"),
    ("tiny.mp4", lambda path: corpus.ffmpeg(*corpus.picture(1, "8x8"), *corpus.H264, path), "corrupt_media"),
    (
        "wide.mp4",
        lambda path: corpus.ffmpeg(*corpus.picture(1, "9000x32", 2), *corpus.H264, path),
        "dimensions_too_large",
    ),
    ("a.flv", lambda path: corpus.ffmpeg(*corpus.picture(1), "-c:v", "flv1", path), "unsupported_container"),
    (
        "photo.mp4",
        lambda path: corpus.ffmpeg(*corpus.picture(1), "-frames:v", "1", "-f", "mjpeg", path),
        "unsupported_container",
    ),
]


@pytest.mark.parametrize(("name", "maker", "code"), REFUSED, ids=[name for name, _, _ in REFUSED])
async def test_a_file_that_is_no_video_is_refused(
    name: str, maker: Callable[[Path], None], code: str, tmp_path: Path
) -> None:
    error = await refused(made(tmp_path, name, maker))
    assert error.code == code, error.detail
    assert not error.retryable
    assert str(tmp_path) not in error.message


async def test_limits_are_the_callers(tmp_path: Path) -> None:
    source = made(tmp_path, "a.mp4", corpus.plain)
    assert (await refused(source, limits=Limits(max_duration_seconds=1))).code == "duration_too_long"
    assert (await refused(source, limits=Limits(max_pixels=50_000))).code == "dimensions_too_large"
    assert (await refused(source, limits=Limits(max_streams=1))).code == "too_many_streams"


async def test_a_failed_poster_leaves_no_file(tmp_path: Path) -> None:
    info = await probe(made(tmp_path, "a.mp4", corpus.plain))
    with pytest.raises(MediaError) as caught:
        await poster(made(tmp_path, "b.mp4", corpus.noise), tmp_path / "b.jpg", info)
    assert caught.value.code == "corrupt_media"
    assert not (tmp_path / "b.jpg").exists()
