"""The loop every Python driver runs: one JSON command per input line, one JSON reply per output line.

The commands are listed in ../README.md. A driver is a class with one method per command; an exception becomes
an `error` reply, because "the client raised this" is often just what a case wants to see.
"""
import base64
import json
import sys


class Record:
    """A record as the drivers see it: bytes, not base64."""

    def __init__(self, fields):
        self.key = decode(fields.get("k"))
        self.value = decode(fields.get("v"))
        self.headers = [(name, decode(value)) for name, value in fields.get("h", [])]
        self.timestamp = fields.get("t")


def decode(text):
    return None if text is None else base64.b64decode(text)


def encode(data):
    return None if data is None else base64.b64encode(bytes(data)).decode()


def record_reply(partition, offset, key, value, headers, timestamp):
    return {
        "p": partition, "o": offset, "k": encode(key), "v": encode(value), "t": timestamp,
        "h": [[name, encode(content)] for name, content in headers or []],
    }


def serve(driver_class):
    """Runs until end of input. Replies go to the real stdout; whatever a library prints goes to stderr."""
    replies, sys.stdout = sys.stdout, sys.stderr
    driver = driver_class(sys.argv[1])
    for line in sys.stdin:
        command = json.loads(line)
        operation = getattr(driver, command.pop("op").replace("-", "_"))
        if "records" in command:
            command["records"] = [Record(r) for r in command["records"]]
        try:
            reply = operation(**command)
        except Exception as error:  # pylint: disable=broad-except
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
