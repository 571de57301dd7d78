"""The cards of an animatic, drawn with Pillow: a picture or a painted ground, and the words on it. Blocking."""

import colorsys
import math
import random
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

Size = tuple[int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

#: Of the width: what stays free on each side, so that a slow zoom cuts no word.
MARGIN = 0.11
_LINE = 1.28
#: Sides that differ by less are cut to fit; else the whole picture stands on a blurred ground of itself.
_CLOSE_ENOUGH = 0.18
_LABEL = "animatic"
#: Up to here the usual font has all letters: Latin, Greek, Cyrillic.
_COMMON = 0x52F


def card(size: Size, text: str, *, seed: int, number: int, count: int, picture: Path | None = None) -> Image.Image:
    """One card in RGB. `number` of `count` is written in its corner, as on a storyboard."""
    if picture is not None:
        with Image.open(picture, formats=["PNG"]) as opened:
            ground = framed(opened.convert("RGB"), size)
        if text:
            ground = _shaded(ground)
        _write(ground, text, bottom=True)
    else:
        ground = painted(size, seed=seed, number=number)
        _write(ground, text, bottom=False)
    _label(ground, f"{_LABEL}  {number}/{count}" if count > 1 else _LABEL)
    return ground


def painted(size: Size, *, seed: int, number: int) -> Image.Image:
    """A ground of soft lights in a few colours that go together; the same seed gives the same."""
    chance = random.Random(seed * 1009 + number)  # noqa: S311
    hue = (random.Random(seed).random() + 0.07 * number) % 1.0  # noqa: S311
    width, height = size
    small = (max(16, width // 8), max(16, height // 8))
    dark, light = _colour(hue, 0.62, 0.20), _colour(hue + 0.08, 0.55, 0.46)
    ground = Image.linear_gradient("L").rotate(chance.choice((0, 90, 180, 270))).resize(small)
    picture = ImageOps.colorize(ground, dark, light).convert("RGB")
    for _ in range(6):
        radius = chance.uniform(0.16, 0.46) * min(small)
        x, y = chance.uniform(0, small[0]), chance.uniform(0, small[1])
        mask = Image.new("L", small, 0)
        box = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(mask).ellipse(box, fill=chance.randint(60, 130))
        mask = mask.filter(ImageFilter.GaussianBlur(radius / 2.2))
        colour = _colour(hue + chance.choice((-0.10, 0.06, 0.14, 0.45)), chance.uniform(0.45, 0.75), 0.58)
        picture.paste(colour, (0, 0), mask)
    return picture.resize(size, Image.Resampling.BICUBIC)


def framed(picture: Image.Image, size: Size) -> Image.Image:
    """The picture in this size: cut a little, or whole on a blurred ground of itself."""
    shape, wanted = picture.width / picture.height, size[0] / size[1]
    cover = ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    if abs(math.log(shape / wanted)) <= _CLOSE_ENOUGH:
        return cover
    small = cover.resize((max(1, size[0] // 8), max(1, size[1] // 8))).filter(ImageFilter.GaussianBlur(6))
    ground = Image.blend(small, Image.new("RGB", small.size, (0, 0, 0)), 0.35).resize(size, Image.Resampling.BICUBIC)
    whole = ImageOps.contain(picture, size, Image.Resampling.LANCZOS)
    ground.paste(whole, ((size[0] - whole.width) // 2, (size[1] - whole.height) // 2))
    return ground


def _shaded(picture: Image.Image) -> Image.Image:
    """Darker towards its lower edge, so that words on it are read."""
    shade = Image.linear_gradient("L").resize(picture.size).point(lambda value: max(0, value - 110) * 215 // 145)
    picture.paste((0, 0, 0), (0, 0), shade)
    return picture


def _write(picture: Image.Image, text: str, *, bottom: bool) -> None:
    if not text:
        return
    width, height = picture.size
    room = (round(width * (1 - 2 * MARGIN)), round(height * (0.3 if bottom else 0.66)))
    lines, font, pixels = _fitted(text, room, most=round(min(width, height) * (0.062 if bottom else 0.105)))
    step = round(pixels * _LINE)
    top = height - round(height * MARGIN) - step * len(lines) if bottom else (height - step * len(lines)) // 2
    draw = ImageDraw.Draw(picture)
    shadow = max(1, pixels // 22)
    for number, line in enumerate(lines):
        place = (width / 2, top + step * (number + 0.5))
        draw.text((place[0] + shadow, place[1] + shadow), line, font=font, fill=(0, 0, 0), anchor="mm")
        draw.text(place, line, font=font, fill=(255, 255, 255), anchor="mm")


def _label(picture: Image.Image, text: str) -> None:
    width, height = picture.size
    pixels = max(10, round(min(width, height) * 0.026))
    place = (round(width * MARGIN), round(height * MARGIN))
    ImageDraw.Draw(picture).text(place, text, font=_font(pixels), fill=(226, 226, 230), anchor="ls")


def _fitted(text: str, room: Size, *, most: int) -> tuple[list[str], Font, int]:
    """The words in lines as large as they fit; what does not fit at all ends in an ellipsis."""
    least = max(10, most // 4)
    letter = _rare(text)
    for pixels in range(most, least - 1, -max(1, most // 24)):
        font = _font(pixels, letter)
        lines = _lines(text, font, room[0])
        if len(lines) * pixels * _LINE <= room[1] and all(font.getlength(line) <= room[0] for line in lines):
            return lines, font, pixels
    font = _font(least, letter)
    lines = _lines(text, font, room[0])
    kept = max(1, int(room[1] / (least * _LINE)))
    return (lines if len(lines) <= kept else [*lines[: kept - 1], f"{lines[kept - 1]}…"]), font, least


def _lines(text: str, font: Font, width: int) -> list[str]:
    lines: list[str] = []
    line = ""
    for word in (piece for whole in text.split() for piece in _pieces(whole, font, width)):
        longer = f"{line} {word}" if line else word
        if line and font.getlength(longer) > width:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line] if line else lines


def _pieces(word: str, font: Font, width: int) -> list[str]:
    """A word that is wider than a line (or a language that has no spaces) is cut."""
    pieces, piece = [], ""
    for character in word:
        if piece and font.getlength(piece + character) > width:
            pieces.append(piece)
            piece = ""
        piece += character
    return [*pieces, piece]


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _rare(text: str) -> str:
    """A letter that not every font has; "" where there is none. Signs (emoji) are left to chance."""
    return next((character for character in text if ord(character) > _COMMON and character.isalpha()), "")


@lru_cache(maxsize=256)
def _font(pixels: int, letter: str = "") -> Font:
    path = _font_file(letter)
    return ImageFont.truetype(path, pixels) if path else ImageFont.load_default(pixels)


@lru_cache(maxsize=256)
def _font_file(letter: str) -> str | None:
    """The system's sans serif, bold, one that has this letter; None: that of Pillow, which knows Latin letters only."""
    found = shutil.which("fc-match")
    if found is None:
        usual = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf")
        return str(usual) if usual.exists() else None
    wanted = f":charset={ord(letter):x}" if letter else ""
    words = [found, "-f", "%{file}", f"DejaVu Sans:bold:scalable=true{wanted}"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
        return said if said.endswith((".ttf", ".otf", ".ttc")) and Path(said).exists() else None
    except (OSError, subprocess.TimeoutExpired):
        return None
