"""Files that point elsewhere: to another server, to a file of the server's own, to another part of themselves."""

from functools import partial

from tests.videos.hostile.kit import TAKEN, Hostile, Kit, box, element, full, grown, hostile, master, span, u32

REFUSED = ("unsupported_container", "corrupt_media")


def _hls(kit: Kit, address: str, *more: str) -> bytes:
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:2", *more, "#EXTINF:2.0,", address, "#EXT-X-ENDLIST"]
    return ("\n".join(lines) + "\n").encode()


def _master(kit: Kit) -> bytes:
    rungs = f"#EXT-X-STREAM-INF:BANDWIDTH=1\n{kit.trap}.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\n{kit.canary}\n"
    return f"#EXTM3U\n{rungs}".encode()


def _concat(kit: Kit, *targets: str) -> bytes:
    return ("ffconcat version 1.0\n" + "".join(f"file '{target}'\n" for target in targets)).encode()


def _dash(kit: Kit) -> bytes:
    return f"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
 mediaPresentationDuration="PT2S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet
 mimeType="video/mp4"><Representation id="1" bandwidth="1" codecs="avc1.42c01e"><BaseURL>{kit.trap}.mp4</BaseURL>
 <SegmentBase indexRange="0-9"/></Representation></AdaptationSet></Period></MPD>""".encode()


def _sdp(kit: Kit) -> bytes:
    lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=x", "c=IN IP4 127.0.0.1", "t=0 0", f"m=video {kit.port} RTP/AVP 96"]
    return "\r\n".join([*lines, "a=rtpmap:96 H264/90000", ""]).encode()


def _imf(kit: Kit) -> bytes:
    return f"""<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">
 <Id>urn:uuid:0eb3d1b9-b77b-4d3f-bbe5-7c69b15dca84</Id><SegmentList><Segment><Resource>{kit.trap}</Resource></Segment>
 </SegmentList></CompositionPlaylist>""".encode()


TEXTS = {
    "pls": "[playlist]\nFile1={trap}\nNumberOfEntries=1\n",
    "m3u": "{trap}\n{canary}\n",
    "asx": '<asx version="3.0"><entry><ref href="{trap}"/></entry></asx>',
    "xspf": "<playlist version='1'><trackList><track><location>{trap}</location></track></trackList></playlist>",
    "smil": '<smil><body><video src="{trap}"/></body></smil>',
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{trap}"/><image href="file://{canary}"/></svg>',
    "ass": "[Script Info]\nScriptType: v4.00+\n[Events]\nDialogue: 0,0:00:00.00,0:00:02.00,{trap}\n[Fonts]\n{canary}\n",
    "vtt": "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:0\n\n00:00.000 --> 00:02.000\n{trap}\n",
    "srt": "1\n00:00:00,000 --> 00:00:02,000\n{canary}\n",
    "ffmeta": ";FFMETADATA1\ntitle={trap}\n[CHAPTER]\nSTART=0\nEND=9\n",
    "rtsp": "rtsptextRTSP://127.0.0.1:{port}/x\n",
    "smooth": '<?xml version="1.0"?><SmoothStreamingMedia><StreamIndex Url="{trap}"/></SmoothStreamingMedia>',
    "avs": 'DirectShowSource("{canary}")\n',
    "vpy": "import os\nos.system('true')\nfrom vapoursynth import core\ncore.ffms2.Source('{canary}').set_output()\n",
    "html": '<!doctype html><video src="{trap}"></video><script src="{trap}"></script>',
    "xml-entity": '<?xml version="1.0"?><!DOCTYPE MPD [<!ENTITY x SYSTEM "file://{canary}">]><MPD>&x;</MPD>',
    "url": "[InternetShortcut]\nURL={trap}\n",
}


def _text(name: str, kit: Kit) -> bytes:
    return (
        TEXTS[name]
        .replace("{trap}", kit.trap)
        .replace("{canary}", str(kit.canary))
        .replace("{port}", str(kit.port))
        .encode()
    )


def _elsewhere(kit: Kit, entry: bytes) -> bytes:
    """The plain clip whose samples are said to lie in another file."""
    table = full(b"dref", u32(1), entry)
    return grown(kit.clip("end.mov"), [b"moov", b"trak", b"mdia", b"minf", b"dinf"], table, replace=b"dref")


def _alias(kit: Kit) -> bytes:
    """A classic Mac alias record to the canary: volume, folder levels, the path as its 18th part."""
    path = str(kit.canary).encode()
    head = bytes(4) + u32(0)[:2] + bytes(2) + bytes(10) + bytes([4]) + b"root".ljust(27, b"\0") + bytes(12)
    name = bytes([10]) + b"canary.mp4".ljust(63, b"\0")
    rest = bytes(16) + b"\0\1\0\1" + bytes(20)
    parts = b"\0\x12" + len(path).to_bytes(2, "big") + path + b"\0" * (len(path) % 2) + b"\xff\xff\0\0"
    return full(b"alis", head + name + rest + parts)


def _reference_movie(kit: Kit) -> bytes:
    url = f"{kit.trap}.mov".encode() + b"\0"
    return box(b"ftyp", b"qt  ", u32(0), b"qt  ") + box(
        b"moov", box(b"rmra", box(b"rmda", full(b"rdrf", b"url ", u32(len(url)), url)))
    )


def _matroska(kit: Kit, *extra: bytes) -> bytes:
    """The plain clip, made without going back, with more elements in its information and behind it."""
    data = kit.clip("live.mkv", "-f", "matroska", "-live", "1")
    at = master(data, "1549a966")
    start, end = span(data, at, "1549a966")
    return data[:at] + element("1549a966", data[start:end], extra[0]) + b"".join(extra[1:]) + data[end:]


def _linked(kit: Kit) -> bytes:
    name = str(kit.canary).encode()
    return _matroska(
        kit,
        element("3cb923", b"\1" * 16)
        + element("3c83ab", name)
        + element("3eb923", b"\2" * 16)
        + element("3e83bb", name),
    )


def _ordered_chapters(kit: Kit) -> bytes:
    atom = element("b6", element("73c4", b"\1"), element("91", b"\0"), element("6e67", b"\3" * 16))
    return _matroska(kit, b"", element("1043a770", element("45b9", element("45dd", b"\1"), atom)))


def _attachment(kit: Kit) -> bytes:
    parts = (element("466e", b"../../../etc/cron.d/x"), element("4660", b"text/html"), element("46ae", b"\1"))
    page = f"<script src='{kit.trap}'></script>".encode() * 50
    return _matroska(kit, b"", element("1941a469", element("61a7", *parts, element("465c", page))))


def _text_files() -> list[Hostile]:
    names = ["mp4", "mov", "mkv", "avi", "webm"]
    return [
        hostile("playlist", f"{name}.{names[number % 5]}", partial(_text, name), *REFUSED)
        for number, name in enumerate(TEXTS)
    ]


FILES = [
    hostile("playlist", "hls-http.mp4", lambda kit: _hls(kit, f"{kit.trap}.ts"), *REFUSED),
    hostile("playlist", "hls-file.mov", lambda kit: _hls(kit, f"file://{kit.canary}"), *REFUSED),
    hostile("playlist", "hls-path.webm", lambda kit: _hls(kit, str(kit.canary)), *REFUSED),
    hostile("playlist", "hls-subfile.mkv", lambda kit: _hls(kit, f"subfile,,start,0,end,9,,:{kit.canary}"), *REFUSED),
    hostile("playlist", "hls-data.avi", lambda kit: _hls(kit, "data:video/mp2t;base64,R0AREAA="), *REFUSED),
    hostile("playlist", "hls-concat.mp4", lambda kit: _hls(kit, f"concat:{kit.canary}|{kit.trap}"), *REFUSED),
    hostile(
        "playlist",
        "hls-key.mp4",
        lambda kit: _hls(kit, f"{kit.trap}.ts", f'#EXT-X-KEY:METHOD=AES-128,URI="{kit.trap}.key"'),
        *REFUSED,
    ),
    hostile(
        "playlist",
        "hls-map.mkv",
        lambda kit: _hls(kit, f"{kit.trap}.m4s", f'#EXT-X-MAP:URI="file://{kit.canary}"'),
        *REFUSED,
    ),
    hostile("playlist", "hls-master.mp4", _master, *REFUSED),
    hostile(
        "playlist", "hls-after-a-head.mp4", lambda kit: box(b"ftyp", b"isom", u32(512)) + _hls(kit, kit.trap), *REFUSED
    ),
    hostile("playlist", "hls-with-a-mark.mp4", lambda kit: b"\xef\xbb\xbf" + _hls(kit, kit.trap), *REFUSED),
    hostile("playlist", "concat-http.mp4", lambda kit: _concat(kit, kit.trap), *REFUSED),
    hostile("playlist", "concat-file.mov", lambda kit: _concat(kit, str(kit.canary), f"file:{kit.canary}"), *REFUSED),
    hostile("playlist", "concat-relative.mkv", lambda kit: _concat(kit, "canary.mp4", "../canary.mp4"), *REFUSED),
    hostile("playlist", "concat-device.avi", lambda kit: _concat(kit, "/dev/zero", "/proc/self/environ"), *REFUSED),
    hostile("playlist", "dash.mp4", _dash, *REFUSED),
    hostile("playlist", "sdp.mp4", _sdp, *REFUSED),
    hostile("playlist", "imf.mp4", _imf, *REFUSED),
    *_text_files(),
    hostile(
        "reference",
        "dref-url.mov",
        lambda kit: _elsewhere(kit, full(b"url ", kit.trap.encode() + b"\0")),
        TAKEN,
        *REFUSED,
    ),
    hostile("reference", "dref-alias.mov", lambda kit: _elsewhere(kit, _alias(kit)), TAKEN, *REFUSED),
    hostile(
        "reference",
        "dref-file.mov",
        lambda kit: _elsewhere(kit, full(b"url ", f"file://{kit.canary}".encode() + b"\0")),
        TAKEN,
        *REFUSED,
    ),
    hostile("reference", "reference-movie.mov", _reference_movie, *REFUSED),
    hostile("reference", "linked-segments.mkv", _linked, TAKEN),
    hostile("reference", "ordered-chapters.mkv", _ordered_chapters, TAKEN),
    hostile("reference", "attachment.mkv", _attachment, TAKEN),
]
