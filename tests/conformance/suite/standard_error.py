"""Cases of command-line: a broker whose standard error is closed, full, stuck or read by a machine serves and ends as usual."""
import fcntl
import json
import os
import pathlib
import signal
import struct
import subprocess
import time

from . import wire
from .broker import START_TIMEOUT_S, STOP_TIMEOUT_S, binary, free_address
from .report import check, check_equal

INCREMENTAL_ALTER_CONFIGS = 44
BROKER_LOGGER = 8


class Served:
    """One broker with this standard error, in a directory of its own."""

    def __init__(self, directory, stderr, *arguments, **options):
        self.address = free_address()
        command = [binary(), "serve", "--data-dir", directory, "--listen", self.address, "--admin-listen", "", *arguments]
        self.process = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                                        **options)

    def __enter__(self):
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.answers()
                return self
            except OSError:
                check(self.process.poll() is None, f"ended with status {self.process.returncode}")
                check(time.monotonic() < deadline, "no Metadata reply")
                time.sleep(0.01)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def answers(self):
        with wire.Connection(self.address) as connection:
            connection.metadata([])

    def provoke_lines(self, count):
        """A connection that sends nonsense is a line in the log."""
        for _ in range(count):
            with wire.Connection(self.address) as connection:
                connection.send(b"\xff\xff\xff\xff")
                try:
                    check_equal(connection.socket.recv(1), b"", "the reply to nonsense")
                except ConnectionError:
                    pass

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)


class StandardError:
    """The cases; each starts its own broker."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    def _serves_to_the_end(self, name, stderr, *arguments):
        with Served(self.directory / name, stderr, *arguments) as served:
            served.provoke_lines(20)
            served.answers()
            check_equal(served.stop(), 0, "exit status")

    def closed(self):
        """Nobody reads the pipe any more."""
        reader, writer = os.pipe()
        os.close(reader)
        try:
            self._serves_to_the_end("closed", writer)
            self._serves_to_the_end("closed-json", writer, "--log-format", "json")
        finally:
            os.close(writer)

    def full(self):
        """The disk under the log has no room."""
        with open("/dev/full", "wb") as full:
            self._serves_to_the_end("full", full)

    def stuck(self):
        """A pipe that is not read holds up neither the shards nor the end; when it is read again, all waiting lines come."""
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        try:
            with Served(self.directory / "stuck", writer) as served:
                served.provoke_lines(200)
                for _ in range(20):
                    served.answers()
                text = b""
                while text.count(b"closing connection") < 200:
                    part = os.read(reader, 1 << 16)
                    check(part, "the pipe ended")
                    text += part
                served.provoke_lines(200)
                started = time.monotonic()
                check_equal(served.stop(), 0, "exit status")
                return f"ended {time.monotonic() - started:.1f} s after SIGTERM"
        finally:
            os.close(reader)
            os.close(writer)

    def last_lines(self):
        """What was logged right before the end is there."""
        path = self.directory / "last-lines.log"
        with open(path, "wb") as log, Served(self.directory / "last-lines", log) as served:
            served.provoke_lines(50)
            check_equal(served.stop(), 0, "exit status")
        text = path.read_text()
        check_equal(text.count("closing connection"), 50, "lines")
        check("shut down" in text.splitlines()[-1], f"the last line is {text.splitlines()[-1:]}")
        check("\x1b" not in text, "colours in a file")

    def machine_readable(self):
        """With --log-format json every line is an object, those of the start, the end and a refused start too."""
        path = self.directory / "json.log"
        with open(path, "wb") as log, Served(self.directory / "json", log, "--log-format", "json") as served:
            refused = subprocess.run([binary(), "--log-format", "json", "--data-dir", self.directory / "other", "--listen",
                                      served.address, "--admin-listen", ""], capture_output=True, text=True, timeout=20, check=False)
            check_equal(served.stop(), 0, "exit status")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        started, = [line for line in lines if line["message"] == "started"]
        check_equal(started["listening"], served.address, "where it listens")
        check(refused.returncode == 1, f"exit status {refused.returncode}")
        check(served.address in [json.loads(line) for line in refused.stderr.splitlines()][-1]["error"], refused.stderr)

    def levels(self):
        """A bad level is refused with the good ones; millrace is all of ours; a level changes while the broker runs."""
        for level in ("nonsense=debug", "storage=loud", "verbose"):
            done = subprocess.run([binary(), "--data-dir", self.directory / "levels", "--log-level", level], capture_output=True,
                                  text=True, timeout=20, check=False)
            check_equal(done.returncode, 1, "exit status")
            check("--log-level" in done.stderr and "debug" in done.stderr, done.stderr)
        path = self.directory / "levels.log"
        with open(path, "wb") as log, Served(self.directory / "levels", log, "--log-level", "millrace=warn") as served:
            served.provoke_lines(1)
            served.answers()
            self._set_level(served, "broker", "INFO")
            served.provoke_lines(1)
            self._set_level(served, "broker", "ERROR")
            served.provoke_lines(1)
            check_equal(served.stop(), 0, "exit status")
        check_equal(path.read_text().count("closing connection"), 1, "lines")

    @staticmethod
    def _set_level(served, logger, level):
        change = wire.string(logger) + b"\0" + wire.string(level)
        resource = struct.pack(">b", BROKER_LOGGER) + wire.string("1") + wire.array([change])
        with wire.Connection(served.address) as connection:
            reader = connection.request(INCREMENTAL_ALTER_CONFIGS, 0, wire.array([resource]) + b"\0")
        reader.int32()
        results = reader.array(lambda: (reader.int16(), reader.string(), reader.int8(), reader.string()))
        check_equal(results[0][0], 0, f"setting the level of {logger}: {results}")

    def cases(self):
        return [
            ("standard error closed", self.closed), ("standard error full", self.full), ("standard error stuck", self.stuck),
            ("the last lines", self.last_lines), ("JSON", self.machine_readable), ("log levels", self.levels),
        ]
