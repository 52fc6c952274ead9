"""A control group that limits the memory of one process, version 1 or 2. Needs root."""
import os
import pathlib
import time

GROUPS = pathlib.Path("/sys/fs/cgroup")


def why_unavailable():
    """Why no group can be made here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if _parent() is None:
        return "no memory controller in /sys/fs/cgroup"
    return None


def _parent():
    """The group below which ours are made, and the name of its limit."""
    if (GROUPS / "memory" / "memory.limit_in_bytes").exists():
        return GROUPS / "memory", "memory.limit_in_bytes"
    controllers = GROUPS / "cgroup.subtree_control"
    if controllers.exists() and "memory" in controllers.read_text().split():
        return GROUPS, "memory.max"
    return None


class MemoryGroup:
    """Invariant: gone after `close`, which wants the processes in it to have ended."""

    def __init__(self, limit_bytes):
        parent, limit = _parent()
        self.path = parent / f"millrace-test-{os.getpid()}"
        self.path.mkdir()
        (self.path / limit).write_text(str(limit_bytes))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def prefix(self):
        """What a command has to start with to run in the group."""
        return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.path / "cgroup.procs")]

    def close(self):
        for _ in range(100):
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.05)
        self.path.rmdir()
