"""Starts, stops and kills one Millrace process."""
import os
import pathlib
import random
import signal
import socket
import subprocess
import time

from . import wire

ROOT = pathlib.Path(__file__).resolve().parents[3]
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
# What the client families expect of the broker they run against.
PROFILE = {
    "auto.create.topics.enable": "true", "num.partitions": "4", "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
}


def binary(name="millrace"):
    """$MILLRACE_BIN, or the release build of this checkout."""
    default = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    return pathlib.Path(os.environ.get("MILLRACE_BIN", default / "millrace")).with_name(name)


def free_address():
    """A port below those that the kernel gives to clients: a broker that is down must find its own again."""
    for _ in range(1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(10_000, 32_000)))
            except OSError:
                continue
            return f"127.0.0.1:{probe.getsockname()[1]}"
    raise RuntimeError("no free port between 10000 and 32000")


class Broker:
    """Invariant: at most one process per instance; `kill` and `stop` wait until it is gone."""

    def __init__(self, data_dir, settings=None, log_path=None, address=None, cores="0,1", prefix=()):
        self.data_dir = pathlib.Path(data_dir)
        self.settings = PROFILE if settings is None else settings
        self.log_path = pathlib.Path(log_path or self.data_dir.with_suffix(".log"))
        self.address = address or free_address()
        self.admin_address = free_address()
        self.cores = cores
        self.prefix = list(prefix)
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        """Milliseconds from the spawn to the first Metadata reply."""
        settings = [part for key, value in self.settings.items() for part in ("--set", f"{key}={value}")]
        command = [*self.prefix, str(binary()), "serve", "--data-dir", str(self.data_dir), "--listen", self.address,
                   "--admin-listen", self.admin_address, "--cores", self.cores, *settings]
        started = time.monotonic()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        while True:
            try:
                with wire.Connection(self.address, timeout_s=5) as connection:
                    connection.metadata([])
                    return (time.monotonic() - started) * 1000
            except (OSError, ValueError) as error:
                self._give_up_waiting(started, error)
            time.sleep(0.005)

    def _give_up_waiting(self, started, error):
        if self.process.poll() is not None:
            raise RuntimeError(f"the broker ended with status {self.process.returncode}:\n{self.log_tail()}")
        if time.monotonic() - started > START_TIMEOUT_S:
            self.kill()
            raise RuntimeError(f"no Metadata reply within {START_TIMEOUT_S} s ({error}):\n{self.log_tail()}")

    def kill(self):
        """As a crash does it: no warning."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """A clean shutdown; returns the exit status. One that takes too long is killed and is an error."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as slow:
            self.kill()
            raise RuntimeError(f"no end within {STOP_TIMEOUT_S} s of SIGTERM:\n{self.log_tail()}") from slow

    def close(self):
        """For a finally: whatever state it is in, afterwards it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def log_tail(self, lines=30):
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
