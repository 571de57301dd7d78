"""Films that are read, converted and sent: noise, which does not compress, in every container that is taken."""

import subprocess
from pathlib import Path

#: A seed of the film is made by the encoder, and then repeated.
SEED_SECONDS = 8
SEED_BITS = 16_000_000
#: Of a film that lasts two hours in a gigabyte, as of a lecture.
LONG_BITS = 1_000_000
FASTSTART = ["-movflags", "+faststart"]

#: By name: the file, and how ffmpeg is asked for it.
CONTAINERS = {
    "MP4, index at the end": ("end.mp4", []),
    "MP4, index in front": ("front.mp4", FASTSTART),
    "MKV": ("film.mkv", []),
    "AVI": ("film.avi", ["-bsf:v", "h264_mp4toannexb"]),
    "MPEG-TS": ("film.ts", []),
}
LONG = {f"MP4 of two hours, {where}": CONTAINERS[f"MP4, {where}"] for where in ("index at the end", "index in front")}
FRAGMENTED = ("fragments.mp4", ["-movflags", "frag_keyframe+empty_moov+default_base_moof"])


class Reel:
    """Makes films of about so many megabytes in a folder. Raises CalledProcessError."""

    def __init__(self, folder: Path, megabytes: int, bits: int = SEED_BITS) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._seed = folder / "seed.mp4"
        seconds = min(SEED_SECONDS, megabytes / 2)
        picture = f"testsrc2=duration={seconds}:size=1280x720:rate=30,noise=alls=40:allf=t"
        rate = [word for option in ("-b:v", "-minrate", "-maxrate", "-bufsize") for word in (option, str(bits))]
        codec = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "60", *rate, "-c:a", "aac"]
        ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"sine=duration={seconds}", *codec, self._seed)
        self._times = max(0, round(megabytes * 1024 * 1024 / self._seed.stat().st_size) - 1)

    def make(self, file: str, words: list[str]) -> Path:
        """The seed repeated, without encoding anew. The filter that AVI needs does not survive a repetition."""
        path = self.folder / file
        looped = path.with_name("looped.mkv") if path.suffix == ".avi" else path
        here = words if looped == path else []
        ffmpeg("-stream_loop", str(self._times), "-i", self._seed, "-map", "0", "-c", "copy", *here, looped)
        if looped != path:
            ffmpeg("-i", looped, "-map", "0", "-c", "copy", *words, path)
            looped.unlink()
        return path


def ffmpeg(*words: str | Path) -> None:
    """Run ffmpeg, without any of our limits; raises CalledProcessError."""
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, words)], check=True)
