"""A belt around the process: once it is on, the kernel lets the server open its own folders and nothing else.

Whoever finds a way to run code in the server, or past the checks of a name, is then kept from everything else that its
user may read, write and run. It is Landlock, which needs no privileges and can not be taken off again: landlock(7),
landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2), and linux/landlock.h for the numbers.
Descriptors that are open stay usable.
"""

import contextlib
import ctypes
import logging
import os
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

_SYS_CREATE_RULESET, _SYS_ADD_RULE, _SYS_RESTRICT_SELF = 444, 445, 446
"""The same on every architecture: they are younger than their tables."""
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_RULESET = struct.Struct("=QQQ")  # landlock_ruleset_attr; an older kernel takes a longer one whose rest is zero
_PATH_BENEATH = struct.Struct("=Qi")  # landlock_path_beneath_attr, which is packed

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14

_HANDLED = {2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""What is forbidden unless a rule allows it, from which version on: with 3 also truncating, with 5 also ioctl(2)."""
_ALL_TCP = 3  # bind and connect, from version 4 on
_ALL_SCOPES = 3  # signals to others and their abstract sockets, from version 6 on

OLDEST = 2
"""Version 1 forbids every rename from one folder to another, and that is how uploads get their names."""

READ = _READ_FILE | _READ_DIR
WRITE = READ | _WRITE_FILE | _TRUNCATE | _MAKE_REG | _MAKE_DIR | _REMOVE_FILE | _REMOVE_DIR | _REFER
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
"""What a rule about something that is no folder may allow."""

SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/sys/devices/system/cpu")
"""Where ld.so(8) looks for what a module that is imported later is linked with, and malloc(3) for the processors."""

log = logging.getLogger(__name__)


class Sandbox(StrEnum):
    """Whether the belt is put on."""

    AUTO = "auto"
    """Where the kernel has it."""
    REQUIRE = "require"
    OFF = "off"


class SandboxError(Exception):
    """There is no belt, and one is wanted; the message says why, and what to do."""


def landlock_version() -> int:
    """Give the version of Landlock that this kernel has; 0 if it has none, or it is switched off or forbidden."""
    if sys.platform != "linux":
        return 0
    with contextlib.suppress(OSError):
        return _syscall(_SYS_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    return 0


def confine(mode: Sandbox, version: int, *, write: Iterable[Path], read: Iterable[Path]) -> None:
    """Keep this process to some folders, for ever, and to the program itself; log in one line whether that is so.

    To be called before there is a thread: Landlock holds for the thread that asks for it, and for those it starts.

    Args:
        mode: whether to do so.
        version: of Landlock, as `landlock_version` gives it.
        write: folders in which everything may be done that a server does, those that are missing left out.
        read: files, and folders in which everything may be read, likewise.

    Raises:
        SandboxError: it is required, and can not be had.
    """
    if mode is Sandbox.OFF:
        return
    if version < OLDEST:
        missing = "this kernel has no Landlock, or one that is too old, switched off or forbidden (Linux 5.19 has it)"
        if mode is Sandbox.REQUIRE:
            raise SandboxError(f"--sandbox require: {missing}; --sandbox auto does without it")
        log.info("no sandbox", extra={"outcome": missing})
        return
    write, read = [*write], [*read]
    try:
        restrict(version, write=write, read=[*read, *program()])
    except OSError as exc:
        if mode is Sandbox.REQUIRE:
            raise SandboxError(f"--sandbox require: Landlock: {exc.strerror}; --sandbox auto does without it") from exc
        log.warning("no sandbox", extra={"outcome": f"Landlock: {exc.strerror}"})
        return
    places = {place.resolve() for place in (*write, *read) if place.exists()}
    outermost = sorted(str(place) for place in places if not places.intersection(place.parents))
    log.info("sandbox", extra={"path": ", ".join(outermost), "outcome": f"Landlock {version}"})


def restrict(version: int, *, write: Iterable[Path], read: Iterable[Path]) -> None:
    """Forbid this thread, and those it starts, all but what is in these places; also to run, bind, connect and signal.

    Raises:
        OSError: the kernel refuses. Nothing is forbidden then.
    """
    handled = _HANDLED[max(known for known in _HANDLED if known <= version)]
    attributes = _RULESET.pack(handled, _ALL_TCP if version >= 4 else 0, _ALL_SCOPES if version >= 6 else 0)
    ruleset = _syscall(_SYS_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for access, places in ((WRITE, write), (READ, read)):
            for place in places:
                _allow(ruleset, place, access & handled)
        _no_new_privileges()
        _syscall(_SYS_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def around(file: Path) -> Iterator[Path]:
    """Give what has to be readable to read a file again that was replaced: its folder, and that of what it links to.

    Of a file at the top of the file system that is the file alone, or it would be everything.
    """
    for place in (file.absolute(), file.resolve()):
        yield place if place.parent == place.parent.parent else place.parent


def program() -> list[Path]:
    """Give where Python reads what it runs: modules are imported when they are needed, and so are their libraries."""
    # The first entry is the folder in which the server was started, or that of the script: sys.path in the manual.
    imports = sys.path if sys.flags.safe_path else sys.path[1:]
    package, libraries = Path(__file__).parent, Path(sys.base_prefix, "lib")
    return [package, libraries, *map(Path, filter(None, imports)), *map(Path, SYSTEM)]


def _allow(ruleset: int, place: Path, access: int) -> None:
    try:
        fd = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # nothing that could be reached anyway
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            access &= _OF_A_FILE
        _syscall(_SYS_ADD_RULE, ruleset, _RULE_PATH_BENEATH, _PATH_BENEATH.pack(access, fd), 0)
    finally:
        os.close(fd)


def _no_new_privileges() -> None:
    """Give up what set-user-ID programs could give, without which no unprivileged process may confine itself."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(ctypes.c_int(_PR_SET_NO_NEW_PRIVS), *map(ctypes.c_ulong, (1, 0, 0, 0))):
        raise _os_error()


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    words = [ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value) for value in arguments]
    result: int = function(ctypes.c_long(number), *words)
    if result < 0:
        raise _os_error()
    return result


def _os_error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))
