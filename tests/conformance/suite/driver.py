"""A client family as a process that takes commands on its input: see README.md for the commands."""
import json
import select
import subprocess

from . import wire
from .report import Failure

TIMEOUT_S = 90


class DriverError(Failure):
    """The client itself reported an error."""


def advertised(address):
    """The API keys that the broker lists."""
    with wire.Connection(address) as connection:
        return connection.api_versions()


class Driver:
    """One running driver. Invariant: one command is outstanding at most, replies come in order."""

    def __init__(self, family, command, address, log_path):
        self.family = family
        self.log = open(log_path, "ab")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen([*command, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.log)
        self.buffer = b""
        self.timeout_s = TIMEOUT_S
        hello = self.call("hello")
        self.client, self.cannot = hello["client"], set(hello["cannot"])
        self.cannot |= {what for what, api in hello.get("needs", {}).items() if api not in advertised(address)}

    def call(self, operation, **arguments):
        """The reply, or DriverError with the client's own words."""
        command = json.dumps({"op": operation, **arguments}).encode() + b"\n"
        try:
            self.process.stdin.write(command)
            self.process.stdin.flush()
            reply = json.loads(self._line(operation))
        except (BrokenPipeError, EOFError) as error:
            raise Failure(f"{self.family}: driver ended during `{operation}`: {error}") from error
        if "error" in reply:
            raise DriverError(f"{self.family} `{operation}`: {reply['error']}")
        return reply

    def _line(self, operation):
        descriptor = self.process.stdout.fileno()
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([descriptor], [], [], self.timeout_s)
            if not ready:
                self.kill()
                raise Failure(f"{self.family}: no reply to `{operation}` within {self.timeout_s} s")
            part = self.process.stdout.read1(1 << 20)
            if not part:
                raise EOFError(f"status {self.process.wait()}, see {self.log.name}")
            self.buffer += part
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        """Ends the driver by ending its input; one that does not go is killed."""
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        self.log.close()
