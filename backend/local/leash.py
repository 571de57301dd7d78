"""Run as a script between the supervisor and a child: ties the child's life to the supervisor's, then becomes it.

    python -I -S leash.py --parent PID --signal N [--not-root FOLDER] -- program argument…

It is a script and not a `preexec_fn` because the supervisor has threads, and because the order matters: changing
credentials makes the kernel forget the parent-death signal. Standard library only.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAP_FOWNER = 3
CAPABILITY_VERSION_3 = 0x20080522
CLONE_NEWUSER = 0x10000000
NOBODY = 65534

libc = ctypes.CDLL(None, use_errno=True)


class CapabilityHeader(ctypes.Structure):
    """`__user_cap_header_struct` of linux/capability.h."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class CapabilitySet(ctypes.Structure):
    """`__user_cap_data_struct`, of which a call takes two."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def call(name: str, *arguments: object) -> None:
    """A function of libc that answers 0. Raises OSError."""
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def stop_being_root(folder: str) -> None:
    """Become somebody whom Postgres, which refuses root, accepts, and who may still work in `folder`.

    A user namespace is the gentle way: we only look like uid 65534, and the files stay root's. Where it is forbidden
    (containers), or where the way to the folder leads through another's closed home (sudo), we really become that
    uid, and keep the one right to pass.
    """
    if namespace_works(folder):
        if os.stat(folder).st_uid != 0:
            own(folder, 0)
        enter_user_namespace()
    else:
        if os.stat(folder).st_uid != NOBODY:
            own(folder, NOBODY)
        become_nobody()


def own(folder: str, uid: int) -> None:
    """Give a folder and all below it to an owner."""
    os.chown(folder, uid, uid)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.lchown(os.path.join(place, name), uid, uid)


def namespace_works(folder: str) -> bool:
    """Try it in a process of its own, because there is no way back."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            # Before it is ours, what counts is whether one gets there: its parent.
            enter_user_namespace()
            code = 0 if os.access(os.path.dirname(folder), os.W_OK | os.X_OK) else 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def enter_user_namespace() -> None:
    """Look like uid 65534 in a namespace of our own. Raises OSError where that is forbidden."""
    uid, gid = os.getuid(), os.getgid()
    call("unshare", CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{NOBODY} {uid} 1"),
        ("gid_map", f"{NOBODY} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def become_nobody() -> None:
    """Change to uid 65534 for good, keeping CAP_DAC_OVERRIDE and CAP_FOWNER over the exec. Raises OSError."""
    kept = (1 << CAP_DAC_OVERRIDE) | (1 << CAP_FOWNER)
    call("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    sets = (CapabilitySet * 2)(CapabilitySet(kept, kept, kept), CapabilitySet(0, 0, 0))
    call("capset", ctypes.byref(CapabilityHeader(CAPABILITY_VERSION_3, 0)), sets)
    for capability in (CAP_DAC_OVERRIDE, CAP_FOWNER):
        call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def main() -> None:
    """Set up what was asked for and exec the program; exits 1 with one line when that is impossible."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, default=0)
    parser.add_argument("--not-root", metavar="FOLDER")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    try:
        if options.not_root and os.geteuid() == 0:
            stop_being_root(options.not_root)
        if options.signal:
            call("prctl", PR_SET_PDEATHSIG, options.signal, 0, 0, 0)
            if os.getppid() != options.parent:  # it died before the line above
                sys.exit(1)
        os.execv(options.command[0], options.command)  # noqa: S606 — becoming the program is the point
    except OSError as error:
        sys.exit(f"{options.command[0]}: {error}")


if __name__ == "__main__":
    main()
