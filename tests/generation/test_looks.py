"""What comes from elsewhere is told by its bytes, and becomes MP4, JPEG, MP3 or PNG, or is refused."""

import subprocess
from pathlib import Path

import pytest
from PIL import Image

from backend.generation import looks
from backend.generation.models import Kind
from backend.videos.media_info import MediaError

FILM = ["-f", "lavfi", "-i", "testsrc=s=128x96:r=24:d=1", "-f", "lavfi", "-i", "sine=d=1"]
STILL = ["-f", "lavfi", "-i", "testsrc=s=320x200", "-frames:v", "1"]
TONE = ["-f", "lavfi", "-i", "sine=d=2"]


def ffmpeg(*words: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words], check=True)


async def nothing(share: float) -> None:
    pass


async def taken(kind: Kind, path: Path, folder: Path) -> looks.Result:
    return await looks.take_in(kind, path, folder, tell=nothing)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


async def test_what_browsers_play_is_kept_as_it_is(tmp_path: Path, into: Path) -> None:
    path = tmp_path / "a.mp4"
    ffmpeg(*FILM, "-pix_fmt", "yuv420p", str(path))
    result = await taken(Kind.VIDEO, path, into)
    assert (result.path, result.content_type, result.width, result.duration) == (path, "video/mp4", 128, 1.0)


@pytest.mark.parametrize(
    ("name", "how"),
    [("a.webm", ["-c:v", "libvpx-vp9", "-c:a", "libopus"]), ("a.mkv", ["-c:v", "mpeg4"]), ("a.mov", ["-c:v", "mjpeg"])],
)
async def test_other_films_become_mp4(tmp_path: Path, into: Path, name: str, how: list[str]) -> None:
    ffmpeg(*FILM, *how, str(tmp_path / name))
    result = await taken(Kind.VIDEO, tmp_path / name, into)
    assert result.info is not None
    assert (result.info.container, result.info.video_codec, result.info.playable) == ("mp4", "h264", True)
    assert (result.width, result.height, result.info.has_audio) == (128, 96, True)


@pytest.mark.parametrize("ending", ["png", "webp", "jpg"])
async def test_pictures_become_jpeg(tmp_path: Path, into: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    ffmpeg(*STILL, str(path))
    path.rename(tmp_path / "nameless")
    result = await taken(Kind.IMAGE, tmp_path / "nameless", into)
    assert (result.content_type, result.width, result.height) == ("image/jpeg", 320, 200)
    assert result.path.read_bytes().startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize("ending", ["wav", "ogg", "flac", "mp3", "m4a"])
async def test_sounds_become_mp3(tmp_path: Path, into: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    ffmpeg(*TONE, str(path))
    result = await taken(Kind.AUDIO, path, into)
    assert (result.content_type, looks._format_of(result.path)) == ("audio/mpeg", "mp3")
    assert result.duration == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(
    "data", [b"", b"#EXTM3U\nfile:///etc/passwd", b"\xff\xd8\xff broken", b"\x89PNG\r\n\x1a\n0000"]
)
async def test_what_is_none_is_refused(tmp_path: Path, into: Path, kind: Kind, data: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(MediaError) as refusal:
        await taken(kind, path, into)
    assert refusal.value.code in ("corrupt_media", "unsupported_container", "no_video_stream")


async def test_a_picture_to_work_from_stands_upright_and_is_no_larger_than_needed(tmp_path: Path) -> None:
    picture = Image.new("RGB", (3000, 1500), (200, 30, 30))
    picture.paste((30, 30, 200), (0, 0, 1500, 1500))
    exif = picture.getexif()
    exif[0x0112] = 6  # turned by a quarter: its left half is above
    picture.save(tmp_path / "phone.jpg", exif=exif)
    await looks.clean_picture(tmp_path / "phone.jpg", tmp_path / "clean.png")
    with Image.open(tmp_path / "clean.png") as clean:
        assert clean.size == (1024, 2048)
        red, _, blue = clean.getpixel((500, 100))  # type: ignore[misc]
        assert blue > red
