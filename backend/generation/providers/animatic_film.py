"""The film of an animatic: cards zoomed slowly and faded into each other, all of it by one ffmpeg.

A card is drawn larger than it is shown. Each frame is a piece of it, scaled: ffmpeg's scaler knows only whole pixels,
and a slow zoom in whole pixels trembles, so the pieces are chosen to lie right to a fraction of one (`_Side`).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image

from backend.generation.providers.animatic_scenes import Scene
from backend.videos.media_tools import run_media_tool
from backend.videos.sandbox import ToolOutput

Tell = Callable[[float], Awaitable[None]]
Size = tuple[int, int]

_STALL_SECONDS = 120
#: Pixels of a card for one of the film: when it is nearest, and when it is farthest. Never too near to 1: `_Side`.
_NEAR, _FAR = 1.06, 1.17
#: How far the eye wanders along the longer way of what is not seen: from its middle to each side.
_DRIFT = 0.2
#: What stays unseen of a card on each of its sides; see `_Side`.
_SLACK = 22


@dataclass(frozen=True)
class Sound:
    """A WAV that is heard from `start` seconds on, `tempo` times as fast."""

    path: Path
    start: float
    tempo: float = 1.0


@dataclass(frozen=True)
class Card:
    """One scene's picture: raw RGB in a file, of the size `card_size` asks for."""

    path: Path
    size: Size


def card_size(size: Size) -> Size:
    """How large a card is drawn for a film of this size."""
    return round(size[0] * _FAR) + 2 * _SLACK, round(size[1] * _FAR) + 2 * _SLACK


def saved(picture: Image.Image, path: Path) -> Card:
    path.write_bytes(picture.tobytes())
    return Card(path, picture.size)


async def encode(
    cards: Sequence[Card],
    scenes: Sequence[Scene],
    dest: Path,
    *,
    size: Size,
    fps: int,
    frames: int,
    sounds: Sequence[Sound],
    noise: str | None,
    timeout_seconds: float,
    tell: Tell,
) -> ToolOutput:
    """Write the MP4; `tell` is told how many seconds are made. Raises MediaError, ToolMissing."""
    seconds = f"{frames / fps:.6f}"
    words = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "warning", "-filter_complex_threads", "1"]
    for card in cards:
        shape = ["-pix_fmt", "rgb24", "-s", f"{card.size[0]}x{card.size[1]}", "-r", str(fps)]
        words += ["-f", "rawvideo", *shape, "-i", f"file:{card.path}"]
    for sound in sounds:
        words += ["-f", "wav", "-i", f"file:{sound.path}"]
    heard = mixed([(number + len(cards), each) for number, each in enumerate(sounds)], noise, seconds)
    script = dest.with_suffix(".filters")  # too long to be one word of a command
    script.write_text(";\n".join([*filmed(cards, scenes, size, fps), *([heard] if heard else [])]))
    words += ["-filter_complex_script", str(script), "-map", "[film]"]
    words += ["-map", "[sound]", "-c:a", "aac", "-b:a", "128k"] if heard else []
    words += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "21", "-g", str(2 * fps), "-pix_fmt", "yuv420p"]
    for what in ("-colorspace", "-color_primaries", "-color_trc"):
        words += [what, "bt709"]
    words += ["-color_range", "tv", "-t", seconds]
    return await run_media_tool(
        [*words, "-movflags", "+faststart", "-y", f"file:{dest}"],
        timeout_seconds,
        on_progress=tell,
        stall_seconds=_STALL_SECONDS,
        max_written_bytes=max(64, 4 * frames // fps) * 1024 * 1024,
    )


# --- what is seen ----------------------------------------------------------------------------------------------------


def filmed(cards: Sequence[Card], scenes: Sequence[Scene], size: Size, fps: int) -> list[str]:
    """The filters that make [film] of the cards, which are the first inputs."""
    pieces = pieces_of(scenes)
    used = [0] * len(cards)
    parts = []
    for number, piece in enumerate(pieces):
        views = []
        for index in piece.scenes:
            views.append(f"view{index}_{used[index]}")
            seen = _zoomed(cards[index], scenes[index], size, index, piece)
            parts.append(f"[card{index}_{used[index]}]{seen}[{views[-1]}]")
            used[index] += 1
        merged = "overlay=format=yuv420" if len(views) == 2 else "null"
        parts.append(f"{''.join(f'[{view}]' for view in views)}{merged}[piece{number}]")
    for index, count in enumerate(used):
        names = "".join(f"[card{index}_{number}]" for number in range(count))
        parts.append(f"[{index}:v]scale=out_color_matrix=bt709:out_range=tv,format=yuv444p,split={count}{names}")
    names = "".join(f"[piece{number}]" for number in range(len(pieces)))
    return [*parts, f"{names}concat=n={len(pieces)},setpts=N/({fps}*TB)[film]"]


@dataclass(frozen=True)
class Piece:
    """Frames in which the same scenes are seen: one, or two of which the second comes."""

    start: int
    frames: int
    scenes: tuple[int, ...]


def pieces_of(scenes: Sequence[Scene]) -> list[Piece]:
    """The whole film, cut where a fade begins or ends."""
    cuts = sorted({cut for scene in scenes for cut in (scene.start, scene.start + scene.frames)})
    pieces = []
    for start, end in pairwise(cuts):
        seen = tuple(n for n, each in enumerate(scenes) if each.start <= start < each.start + each.frames)
        pieces.append(Piece(start, end - start, seen[-2:]))
    return pieces


def _zoomed(card: Card, scene: Scene, size: Size, index: int, piece: Piece) -> str:
    """The card in this piece: every other one comes nearer over its scene, the rest go away; all drift a little."""
    done = f"((n+{piece.start - scene.start})/{max(1, scene.frames - 1)})"
    near = done if index % 2 == 0 else f"(1-{done})"
    zoom = f"({_FAR}-{_FAR - _NEAR:.6f}*{near})"
    drift = f"({'' if index % 4 < 2 else '-'}({done}-0.5)*{2 * _DRIFT})"
    across, down = _Side(card.size[0], size[0], zoom, drift), _Side(card.size[1], size[1], zoom, "0")
    fading = index != piece.scenes[0]
    colours = f"yuva420p,fade=nb_frames={piece.frames}:alpha=1" if fading else "yuv420p"
    return ",".join(
        [
            f"loop=loop={piece.frames - 1}:size=1",
            f"crop=w={across.cut}:h={down.cut}:x='{across.begin}':y='{down.begin}'",
            f"scale=w='{across.scaled}':h='{down.scaled}':eval=frame:flags=fast_bilinear",
            # Right behind the scaler: only its neighbour is told of a new size.
            f"crop=w={size[0]}:h={size[1]}:x='{across.shown}':y='{down.shown}',format={colours},setsar=1",
        ]
    )


@dataclass(frozen=True)
class _Side:
    """Where a frame lies on one side of its card, as ffmpeg's expressions of the frame's number.

    From the card a piece of `cut` pixels is cut at `begin`, that is scaled to `scaled`, and of this the film shows what
    begins at `shown`: whole numbers all, and `shown` an even one, for the halved chroma. A pixel of the film is `zoom`
    of the card, so cutting two pixels further on and showing two pixels earlier moves the picture by 2 (zoom - 1): of
    the few such ways that `_SLACK` has room for, the best is at most (zoom - 1) away from where the frame should be.
    """

    card: int
    film: int
    zoom: str
    drift: str

    @property
    def cut(self) -> int:
        return self.card - _SLACK

    @property
    def scaled(self) -> str:
        return f"round({self.cut}/{self.zoom})"

    @property
    def begin(self) -> str:
        return f"{self._steps};round(ld(3)+2*ld(4)*ld(0))"

    @property
    def shown(self) -> str:
        return f"{self._steps};2*(ld(2)-ld(4))"

    @property
    def _steps(self) -> str:
        unseen = f"({self.card - 2 * _SLACK}-{self.film}*ld(0))"
        return ";".join(
            [
                f"st(0,{self.cut}/({self.scaled}))",  # the zoom as it is with whole pixels
                f"st(1,{_SLACK}+{unseen}*(0.5+{self.drift}))",  # where the frame should begin
                "st(2,floor(ld(1)/(2*ld(0))))",  # so many times two pixels of the film after
                "st(3,ld(1)-2*ld(2)*ld(0))",  # this place, which is no whole pixel
                "st(4,round((1-mod(ld(3),1))/(2*(ld(0)-1))))",  # but is one after so many times two pixels less
            ]
        )


# --- what is heard ---------------------------------------------------------------------------------------------------


def mixed(sounds: Sequence[tuple[int, Sound]], noise: str | None, seconds: str) -> str:
    """The filters that put sounds (with the numbers of their inputs) and noise together; "" when there is nothing.

    Exactly so long, with soft ends.
    """
    parts, names = [], []
    for number, sound in sounds:
        delay = f"adelay={round(sound.start * 1000)}:all=1"
        tempo = f"atempo={sound.tempo:.4f}," if sound.tempo != 1 else ""
        parts.append(f"[{number}:a]{tempo}aresample=48000,{delay}[s{number}]")
        names.append(f"[s{number}]")
    if noise:
        parts.append(f"{noise},aresample=48000,volume=0.5,atrim=duration={seconds}[noise]")
        names.append("[noise]")
    if not names:
        return ""
    end = max(0.0, float(seconds) - 0.25)
    shape = f"apad,atrim=duration={seconds},afade=t=out:st={end:.3f}:d=0.25,alimiter=limit=0.95"
    mix = f"amix=inputs={len(names)}:normalize=0:duration=longest," if len(names) > 1 else ""
    return ";".join([*parts, f"{''.join(names)}{mix}{shape},aformat=channel_layouts=stereo[sound]"])
