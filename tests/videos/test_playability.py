"""What browsers play as it is, and the sentence for what they do not."""

from dataclasses import replace

import pytest

from backend.videos.playability import Facts, Track, why_not_playable

H264 = Track("h264", "High", "yuv420p", "avc1")
AAC = Track("aac", "LC", tag="mp4a")
PLAIN = Facts(container="mp4", video=H264, audio=AAC, hdr=None, max_side=1920)
WEBM = Facts(container="webm", video=Track("vp9", "Profile 0", "yuv420p"), audio=Track("opus"), hdr=None, max_side=1920)

PLAYS = [
    PLAIN,
    replace(PLAIN, container="mov"),
    replace(PLAIN, audio=None),
    replace(PLAIN, rotation=90),
    replace(PLAIN, audio=Track("mp3", tag="mp4a")),
    replace(PLAIN, audio=Track("aac", "HE-AACv2", tag="mp4a")),
    replace(PLAIN, video=Track("h264", "Constrained Baseline", "yuvj420p", "avc3")),
    WEBM,
    replace(WEBM, audio=None),
    replace(WEBM, video=Track("vp8", "0", "yuv420p"), audio=Track("vorbis")),
]

DOES_NOT = [
    (replace(PLAIN, container="matroska"), "MKV files"),
    (replace(PLAIN, container="avi"), "AVI files"),
    (replace(PLAIN, container="mpegts"), "MPEG-TS files"),
    (replace(PLAIN, video=Track("hevc", "Main", "yuv420p", "hvc1")), "HEVC video in MP4"),
    (replace(PLAIN, video=Track("vp9", "Profile 0", "yuv420p", "vp09")), "VP9 video in MP4"),
    (replace(PLAIN, video=Track("av1", "Main", "yuv420p", "av01")), "AV1 video in MP4"),
    (replace(WEBM, video=Track("av1", "Main", "yuv420p")), "AV1 video in WebM"),
    (replace(PLAIN, video=replace(H264, profile="High 10", pix_fmt="yuv420p10le")), "colour format"),
    (replace(PLAIN, video=replace(H264, profile="High 4:4:4 Predictive", pix_fmt="yuv444p")), "colour format"),
    (replace(PLAIN, video=replace(H264, profile="Extended")), "profile"),
    (replace(WEBM, video=Track("vp9", "Profile 2", "yuv420p10le")), "colour format"),
    (replace(PLAIN, hdr="hlg"), "HDR"),
    (replace(PLAIN, max_side=7680), "4096"),
    (replace(PLAIN, audio=Track("pcm_s16le", tag="sowt")), "sound in MP4"),
    (replace(PLAIN, audio=Track("ac3", tag="ac-3")), "AC3 sound"),
    (replace(PLAIN, audio=Track("aac", "Main", tag="mp4a")), "AAC sound"),
    (replace(WEBM, audio=AAC), "AAC sound in WebM"),
    (replace(PLAIN, is_first=False), "several tracks"),
    (replace(PLAIN, fragmented=True), "fragments"),
    (replace(WEBM, duration_told=False), "length"),
    (replace(WEBM, rotation=90), "upright"),
    (replace(PLAIN, video=replace(H264, tag="H264")), "names its H.264 track"),
]


@pytest.mark.parametrize("facts", PLAYS, ids=repr)
def test_what_every_browser_plays_needs_no_words(facts: Facts) -> None:
    assert why_not_playable(facts) is None


@pytest.mark.parametrize(("facts", "words"), DOES_NOT, ids=[words for _, words in DOES_NOT])
def test_what_some_browser_does_not_play_is_told_why(facts: Facts, words: str) -> None:
    reason = why_not_playable(facts)
    assert reason is not None
    assert words in reason
    assert reason.endswith(".")
