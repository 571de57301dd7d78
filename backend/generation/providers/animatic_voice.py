"""A voice and what is heard behind it: espeak-ng where it is installed, and noises that ffmpeg makes."""

import re
import shutil
import unicodedata
import wave
from dataclasses import dataclass, field
from pathlib import Path

from backend.generation.providers.paces import factor_of
from backend.videos.sandbox import ToolError, run_tool

#: Words a minute.
USUAL_PACE, SLOWEST, FASTEST = 165, 80, 400
#: Pitch (of 100, 50 is usual), pace and loudness (of 200, 100 is usual) by what is felt.
_EMOTIONS = {
    "neutral": (50, 1.0, 100),
    "calm": (46, 0.92, 95),
    "happy": (62, 1.06, 110),
    "joyful": (64, 1.08, 112),
    "excited": (70, 1.14, 125),
    "sad": (38, 0.84, 85),
    "serious": (42, 0.94, 100),
    "angry": (56, 1.08, 150),
    "afraid": (66, 1.16, 95),
    "tense": (54, 1.08, 105),
}
_VARIANTS = {
    "female": "f3",
    "woman": "f3",
    "girl": "f5",
    "child": "f5",
    "boy": "f5",
    "male": "m3",
    "man": "m3",
    "old": "m6",
    "deep": "m7",
    "whisper": "whisper",
}
#: Whose letters tell the language, where nobody named one.
_SCRIPTS = {
    "CYRILLIC": "ru",
    "GREEK": "el",
    "ARABIC": "ar",
    "HEBREW": "he",
    "DEVANAGARI": "hi",
    "HANGUL": "ko",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "cmn",
    "THAI": "th",
}
#: What makes each noise, loud enough to be heard behind a voice.
NOISES = {
    "rain": "anoisesrc=c=pink:a=0.30,highpass=f=900,lowpass=f=9000",
    "wind": "anoisesrc=c=brown:a=0.85,lowpass=f=480,tremolo=f=0.23:d=0.7",
    "sea": "anoisesrc=c=brown:a=0.95,lowpass=f=900,tremolo=f=0.12:d=0.85",
    "street": "anoisesrc=c=brown:a=0.80,lowpass=f=320,tremolo=f=0.4:d=0.3",
    "room": "anoisesrc=c=brown:a=0.30,lowpass=f=220",
    "crowd": "anoisesrc=c=pink:a=0.45,bandpass=f=700:w=900,tremolo=f=3.1:d=0.5",
}
_NOISE_WORDS = {"none": "", "silence": "", "quiet": "", "ocean": "sea", "waves": "sea", "traffic": "street"} | {
    "city": "street",
    "office": "room",
    "people": "crowd",
    "cafe": "crowd",
    "storm": "wind",
}
_NAMED = re.compile(r"\blang(?:uage)?\s*[:=]?\s*([a-z]{2,3}(?:-[a-z0-9]{2,8})?)\b")
#: Those that espeak-ng speaks; what comes behind a hyphen it passes over where it does not know it.
_SPOKEN = (
    "af am an ar as az ba be bg bn bpy bs ca cmn cs cv cy da de el en eo es et eu fa fi fr ga gd gn grc gu hak haw he "
    "hi hr ht hu hy ia id io is it ja jbo ka kk kl kn ko kok ku ky la lb lt lv mi mk ml mr ms mt my nb ne nl no nog om "
    "or pa pap pl pt quc ro ru sd shn si sk sl smj sq sr sv sw ta te th tk tn tr tt ug uk ur uz vi yue zh"
)
_LANGUAGES = frozenset(_SPOKEN.split())
_SECONDS = 120
_MOST_BYTES = 96 * 1024 * 1024


@dataclass(frozen=True)
class Voice:
    """How is spoken. `notes` tell what was asked for and is not known here."""

    name: str = "en"
    variant: str = ""
    pace: int = USUAL_PACE
    pitch: int = 50
    loudness: int = 100
    notes: tuple[str, ...] = field(default=())


def is_installed() -> bool:
    return shutil.which("espeak-ng") is not None


def voice_for(text: str, *, voice: str | None, pace: str | None, emotion: str | None) -> Voice:
    """What is asked for, as far as it is known; the rest is noted."""
    notes: list[str] = []
    name, variant = _named(voice or "", text, notes)
    factor = factor_of(pace, notes)
    pitch, more, loudness = _EMOTIONS["neutral"]
    if emotion:
        known = next((word for word in _words(emotion) if word in _EMOTIONS), None)
        if known is None:
            notes.append(f"The voice knows no emotion “{emotion}”.")
        else:
            pitch, more, loudness = _EMOTIONS[known]
    words = max(SLOWEST, min(FASTEST, round(USUAL_PACE * factor * more)))
    return Voice(name, variant, words, pitch, loudness, tuple(notes))


def noise_for(background: str | None) -> tuple[str | None, list[str]]:
    """What ffmpeg makes it of (None: nothing), and a note where it is not known."""
    if not background:
        return None, []
    for word in _words(background):
        known = _NOISE_WORDS.get(word, word)
        if known == "":
            return None, []
        if known in NOISES:
            return NOISES[known], []
    return None, [f"There is no background “{background}”; known are {', '.join(NOISES)}."]


async def speak(text: str, voice: Voice, dest: Path) -> float:
    """Write a WAV of it and answer its length in seconds; 0: there is nothing to say in it.

    Raises ToolError: when espeak-ng is not installed, or does not know the language.
    """
    said = " ".join(text.split())
    if not any(character.isalnum() for character in said):
        return 0.0
    name = f"{voice.name}+{voice.variant}" if voice.variant else voice.name
    how = ["-v", name, "-s", str(voice.pace), "-p", str(voice.pitch), "-a", str(voice.loudness)]
    output = await run_tool(
        ["espeak-ng", *how, "--stdout", "--", said], timeout_seconds=_SECONDS, max_output_bytes=_MOST_BYTES
    )
    if output.returncode != 0 or len(output.stdout) <= 44 or "does not exist" in output.stderr:
        raise ToolError(f"espeak-ng: {output.stderr.strip()[:200] or 'nothing was said'}")
    return _write(output.stdout, dest)


def _write(data: bytes, dest: Path) -> float:
    """What is written to a pipe says a wrong length in its head: the same again with the right one."""
    rate = int.from_bytes(data[24:28], "little")
    sound = data[44 : len(data) - (len(data) - 44) % 2]
    with wave.open(str(dest), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(sound)
    return len(sound) / 2 / rate


def _named(voice: str, text: str, notes: list[str]) -> tuple[str, str]:
    words = _words(voice)
    variant = next((_VARIANTS[word] for word in words if word in _VARIANTS), "")
    # In a sentence "is", "it" and "no" are no languages: one is named alone, beside one word more, or as what it is.
    parts = [part for part in re.split(r"[\s+_,/]+", voice.lower()) if part]
    named = _NAMED.findall(voice.lower()) or (parts if len(parts) <= 2 else [])
    language = next((part for part in named if part.partition("-")[0] in _LANGUAGES), None)
    if voice and not variant and language is None:
        notes.append(f"There is no voice “{voice}” here; a language as “de”, female, male and child are known.")
    return language or _language_of(text), variant


def _language_of(text: str) -> str:
    for character in text:
        if character.isalpha() and not character.isascii():
            script = unicodedata.name(character, "").partition(" ")[0]
            if script in _SCRIPTS:
                return _SCRIPTS[script]
    return "en"


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())
