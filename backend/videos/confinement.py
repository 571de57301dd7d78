"""The wall around media tools that bubblewrap builds, where this machine lets it: nothing of ours is in sight.

A decoder that a hostile file has taken over sees the system's programs (read only), the one file it reads, the one
folder it writes, and no network unless its source is an address. Where bubblewrap is absent or forbidden the limits of
`sandbox.py` stand alone; `SANDBOX=bwrap` refuses to go on without it. docs/adr/0013 says why it is so.
"""

import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from backend.config import settings

PROBE_SECONDS = 10
# What programs and their libraries need; what is missing is left out. Nothing of it is ours.
_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
)
_NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl", "/etc/pki", "/etc/ca-certificates")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


@dataclass(frozen=True)
class SandboxReport:
    """Which wall stands, and in a sentence why it is not bubblewrap's (empty where it is)."""

    kind: Literal["bwrap", "none"]
    why: str

    @property
    def wanted(self) -> bool:
        """Whether this is what the setting SANDBOX asks for; False stops media work."""
        return self.kind == "bwrap" or settings.sandbox != "bwrap"


def sandbox_report() -> SandboxReport:
    """What media tools are run in, tried once in the life of the process. Blocks for some milliseconds."""
    if settings.sandbox == "none":
        return SandboxReport("none", "Switched off by SANDBOX=none.")
    why = _why_not()
    return SandboxReport("none", why) if why else SandboxReport("bwrap", "")


@cache
def _why_not() -> str:
    """Try what every call will do; the words are for the operator."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return "bubblewrap is not installed (Debian's package: bubblewrap)."
    tool = shutil.which("ffprobe") or shutil.which("true") or "true"
    command = [*wall(bwrap, [tool, "-version"]), tool, "-version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap could not be run: {type(error).__name__}."
    if done.returncode == 0:
        return ""
    said = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
    return f"bubblewrap does not work here, often because user namespaces are forbidden: {said}"


def wall(bwrap: str, args: Sequence[str], *, hardware: bool = False) -> list[str]:
    """The words before the tool: what it may see is read off its own arguments.

    What follows `-i` as `file:` may be read; the folder of any other `file:` may be written; an `http` source keeps the
    network, because only from there come its bytes. `hardware` shows the devices of encoders.
    """
    words = [bwrap, "--die-with-parent", "--unshare-user", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"]
    words += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox"]
    seen = [*_SYSTEM, *_beside(args[0])]
    if any(source.startswith(("http:", "https:")) for source in _sources(args)):
        seen += [*_NETWORK, *([authorities] if (authorities := os.environ.get("SSL_CERT_FILE")) else [])]
    else:
        words.append("--unshare-net")
    words += ["--tmpfs", "/tmp"]  # noqa: S108 — its own, gone with it
    for path in seen:
        words += ["--ro-bind-try", path, path]
    for path in _DEVICES:
        words += ["--dev-bind-try", path, path]
    if hardware:
        # Drivers ask both about their device; the processes in sight are the tool's own.
        words += ["--dev-bind", "/dev", "/dev", "--ro-bind-try", "/sys", "/sys", "--proc", "/proc"]
        words += ["--ro-bind-try", "/proc/driver", "/proc/driver"]
    for folder in written_folders(args):
        words += ["--bind", str(folder), str(folder)]
    for source in _sources(args):
        if source.startswith("file:"):
            words += ["--ro-bind", source[5:], source[5:]]
    return [*words, "--chdir", "/", "--"]


def written_folders(args: Sequence[str]) -> list[Path]:
    """The folders of the files that the tool is told to write, each once."""
    targets = [word for before, word in zip(("", *args), args, strict=False) if before != "-i"]
    return list(dict.fromkeys(Path(word[5:]).parent for word in targets if word.startswith("file:")))


def _sources(args: Sequence[str]) -> list[str]:
    return [word for before, word in itertools.pairwise(args) if before == "-i"]


def _beside(tool: str) -> list[str]:
    """A tool that is installed apart from the system brings its own folder along, and no more."""
    return list(dict.fromkeys([str(Path(tool).parent), str(Path(tool).resolve().parent)]))
