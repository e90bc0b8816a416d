"""Turns the process it runs in into a function's execution environment, then executes the runtime.

`sandbox.py` starts it as `python -I -S isolate.py SPEC`, where SPEC is the JSON of `Spec`; so only
the standard library is available here. With `binds` the process gets its own user and mount
namespaces. In these the whole file system is read-only, `/var/task`, `/opt` and `/var/runtime` are
where Lambda has them, `/tmp` is private, writable and limited in size, and the process has no
capability with which to undo this. Without `binds`, for systems that forbid user namespaces, none
of this is done. In both cases the kernel kills the process when its parent dies, however that
happens (Linux only).

Depends on neither functions, layers nor the Runtime API.
"""

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import TypedDict

# From Linux's headers, for the calls that go through ctypes.
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
MS_NOSUID, MS_NODEV, MS_RELATIME = 0x2, 0x4, 0x200000
PR_SET_PDEATHSIG, SIGKILL = 1, 9
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 0x1
SANDBOX_UID, SANDBOX_GID = 993, 990  # Lambda's own; not root, so that exec drops all capabilities


class Spec(TypedDict):
    parent_pid: int
    binds: dict[str, str]  # where a directory appears -> the directory; empty: no namespaces
    keep: list[str]  # directories to keep visible although a bind or /tmp covers them
    tmp_mb: int
    cwd: str
    argv: list[str]


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns_fd")]


_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind, data)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _check(result, f"mount {source} on {target}")


def _make_read_only(target: str) -> None:
    """Remount one bind read-only.

    In a user namespace the flags that a bind inherits from its source are locked: the remount fails
    if it does not repeat them.
    """
    inherited = os.statvfs(target).f_flag
    kept = inherited & (
        os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME
    )
    if inherited & os.ST_RELATIME:
        kept |= MS_RELATIME
    _mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def _make_everything_read_only() -> None:
    """Make the whole file system read-only, as on Lambda, where only /tmp can be written.

    Kernels before 5.12 do not have this call; there it fails and the result is not checked.
    """
    attributes = _MountAttr(set=MOUNT_ATTR_RDONLY)
    _libc.syscall(
        SYS_MOUNT_SETATTR,
        AT_FDCWD,
        b"/",
        AT_RECURSIVE,
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )


def enter_namespaces(spec: Spec) -> None:
    """Mount the execution environment over this process's view of the file system."""
    uid, gid = os.getuid(), os.getgid()
    _check(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare user and mount namespaces")
    # Inside the namespace this user has Lambda's ids. gid_map can be written only once setgroups is
    # denied.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{SANDBOX_UID} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{SANDBOX_GID} {gid} 1")
    # Private: the mounts below are not propagated to the rest of the system.
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    # The sources may be under /tmp, /var or /opt, which the mounts below cover. They are opened
    # before that, and mounted by their descriptors.
    sources = {target: os.open(path, os.O_PATH) for target, path in spec["binds"].items()}
    kept = {path: os.open(path, os.O_PATH) for path in spec["keep"]}
    _make_everything_read_only()
    _mount("tmpfs", "/var", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    _mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, f"size={spec['tmp_mb']}m,mode=1777")
    for target, descriptor in sources.items():
        if target != "/opt":  # every system has /opt
            Path(target).mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{descriptor}", target, None, MS_BIND)
        _make_read_only(target)
    for path, descriptor in kept.items():
        _uncover(path, descriptor)
    _make_read_only("/var")


def _uncover(path: str, descriptor: int) -> None:
    """Show again a directory that a mount above hides, such as a Python that lives in /opt."""
    covered = os.fstat(descriptor)
    try:
        seen: os.stat_result | None = Path(path).stat()
    except FileNotFoundError:
        seen = None
    if seen is not None and (seen.st_dev, seen.st_ino) == (covered.st_dev, covered.st_ino):
        return
    Path(path).mkdir(parents=True, exist_ok=True)  # under /opt, packages.py has made it
    _mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND)
    _make_read_only(path)


def die_with_parent(parent_pid: int) -> None:
    if sys.platform != "linux":
        return
    _check(_libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(SIGKILL)), "prctl PR_SET_PDEATHSIG")
    if os.getppid() != parent_pid:  # the parent died before the call above
        sys.exit("the local AWS has ended")


def main() -> None:
    spec: Spec = json.loads(sys.argv[1])
    if spec["binds"]:
        enter_namespaces(spec)
    die_with_parent(spec["parent_pid"])
    os.chdir(spec["cwd"])
    os.execv(spec["argv"][0], spec["argv"])  # noqa: S606  no shell is the point


if __name__ == "__main__":
    main()
