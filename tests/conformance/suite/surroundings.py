"""Cases of command-line: what a broker makes of what is around it: control groups, listeners, permissions, a lost identity."""
import os
import pathlib
import subprocess

from . import wire
from .broker import binary, free_address
from .report import Skipped, check, check_equal
from .standard_error import Served

FIND_COORDINATOR = 10


class Group:
    """A control group of version 1 with these files; processes enter it by `enter` before they run."""

    def __init__(self, controller, **files):
        self.path = pathlib.Path(f"/sys/fs/cgroup/{controller}/millrace-test-{os.getpid()}")
        try:
            self.path.mkdir()
            for name, value in files.items():
                (self.path / name.replace("__", ".")).write_text(str(value))
        except OSError as error:
            raise Skipped(f"no control group can be made: {error}") from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.path.rmdir()

    def enter(self):
        (self.path / "cgroup.procs").write_text("0")


class Surroundings:
    """The cases; each starts its own broker."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    def _serve(self, name, *arguments, **options):
        log = open(self.directory / f"{name}.log", "ab")  # pylint: disable=consider-using-with
        with log:
            return Served(self.directory / name, log, *arguments, **options)

    def _log(self, name):
        return (self.directory / f"{name}.log").read_text()

    def _refusal(self, name, *arguments, **options):
        done = subprocess.run([binary(), "--data-dir", self.directory / name, "--listen", free_address(), "--admin-listen", "",
                               *arguments], capture_output=True, text=True, timeout=20, check=False, **options)
        check_equal(done.returncode, 1, f"exit status of {done.stderr}")
        return done.stderr

    def memory(self):
        """What the control group allows is shared out; more than that is refused."""
        with Group("memory", memory__limit_in_bytes=256 << 20) as group:
            with self._serve("memory", "--cores", "0,1", preexec_fn=group.enter) as served:
                with wire.Connection(served.address) as connection:
                    check_equal(connection.create_topic("t", 4), 0, "CreateTopics")
                    for partition in range(4):
                        batch = wire.record_batch([(b"k", bytes(100_000))])
                        check_equal(connection.produce("t", partition, batch)[0], 0, "Produce")
                check_equal(served.stop(), 0, "exit status")
            check("memory     48 MiB and a read cache of 16 MiB per core; the control group" in self._log("memory"), self._log("memory"))
            refusal = self._refusal("memory", "--cores", "0,1", "--set", "millrace.memory.per.shard.bytes=134217728",
                                    preexec_fn=group.enter)
            for word in ("millrace.memory.per.shard.bytes", "128 MiB", "256 MiB", "control group"):
                check(word in refusal, f"`{word}` is not in: {refusal}")

    def processors(self):
        """Half a processor is one shard."""
        with Group("cpu", cpu__cfs_quota_us=50_000) as group:
            with self._serve("processors", preexec_fn=group.enter) as served:
                check_equal(served.stop(), 0, "exit status")
        check("1 core (of " in self._log("processors") and "quota of 0.50" in self._log("processors"), self._log("processors"))

    def listeners(self):
        """Several listeners, IPv6 among them: who connects is told the address of that listener."""
        port = int(free_address().rsplit(":", 1)[1])
        with self._serve("listeners", "--listen", f"SIX://[::1]:{port}", "--listen", f"OUT://127.0.0.1:{port}",
                         "--advertise", "OUT://broker.example:19092") as served:
            for address, expected in ((served.address, ("127.0.0.1", int(served.address.rsplit(":", 1)[1]))),
                                      (f"127.0.0.1:{port}", ("broker.example", 19092)), (f"::1:{port}", ("::1", port))):
                with wire.Connection(address) as connection:
                    reader = connection.request(FIND_COORDINATOR, 1, wire.string("g") + b"\0")
                    reader.unpack("ih")
                    reader.string()
                    reader.int32()
                    check_equal((reader.string(), reader.int32()), expected, f"what {address} is told")
            check_equal(served.stop(), 0, "exit status")
        check("no authentication" not in self._log("listeners"), "a warning for loopback")

    def exposed(self):
        """Listening beyond loopback is said at start; no host is all interfaces, those of IPv6 too."""
        port = int(free_address().rsplit(":", 1)[1])
        with self._serve("exposed", "--listen", f"OUT://:{port}") as served:
            for address in (f"127.0.0.1:{port}", f"::1:{port}"):
                with wire.Connection(address) as connection:
                    connection.metadata([])
            check_equal(served.stop(), 0, "exit status")
        check("no authentication" in self._log("exposed"), self._log("exposed"))

    def permissions(self):
        """Others on the machine cannot read the data."""
        with self._serve("permissions") as served:
            with wire.Connection(served.address) as connection:
                check_equal(connection.create_topic("t"), 0, "CreateTopics")
                check_equal(connection.produce("t", 0, wire.record_batch([(b"k", b"v")]))[0], 0, "Produce")
            check_equal(served.stop(), 0, "exit status")
        data = self.directory / "permissions"
        for path in (data, *data.rglob("*")):
            check_equal(path.stat().st_mode & 0o777, 0o750 if path.is_dir() else 0o640, f"the mode of {path}")

    def lost_identity(self):
        """Data without meta.properties is not made another cluster's."""
        meta = self.directory / "permissions" / "meta.properties"
        kept = meta.read_bytes()
        meta.unlink()
        refusal = self._refusal("permissions")
        check("meta.properties" in refusal and "cluster.id" in refusal, refusal)
        check(not meta.exists(), "a new one was written")
        meta.write_bytes(kept)
        with self._serve("permissions") as served:
            check_equal(served.stop(), 0, "exit status")

    def cases(self):
        return [
            ("memory of a control group", self.memory), ("a quota of processors", self.processors),
            ("several listeners", self.listeners), ("listening for others", self.exposed), ("permissions", self.permissions),
            ("a lost meta.properties", self.lost_identity),
        ]
