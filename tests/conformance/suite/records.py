"""The records every client has to carry, each with what a client must be able to say to send it.

Content is seeded, so that a reader in another process (or another family) can be told what to expect.
"""
import base64
import random
import time


class Sample:
    """One record, and `needs`: the abilities without which a driver leaves it out (see `cannot` in README.md)."""

    def __init__(self, key, value, headers=(), timestamp=None, needs=()):
        self.key, self.value, self.headers = key, value, list(headers)
        self.timestamp, self.needs = timestamp, set(needs)

    def command(self):
        return {"k": encode(self.key), "v": encode(self.value), "t": self.timestamp,
                "h": [[name, encode(value)] for name, value in self.headers]}

    def difference(self, reply, cannot):
        """What a reader returned wrongly, or None. A reader is not asked for what its interface cannot show."""
        found = {"key": decode(reply["k"]), "value": decode(reply["v"])}
        wanted = {"key": self.key, "value": self.value}
        if not ({"null-header", "binary"} & self.needs & cannot):
            found["headers"] = [(name, decode(value)) for name, value in reply["h"]]
            wanted["headers"] = self.headers
        if self.timestamp is not None:
            found["timestamp"], wanted["timestamp"] = reply["t"], self.timestamp
        for what, value in wanted.items():
            if found[what] != value:
                return f"{what} is {brief(found[what])}, expected {brief(value)}"
        return None


def content_samples(seed, timestamp):
    """Every odd shape once, then enough ordinary ones that order means something."""
    chance = random.Random(seed)
    samples = [
        Sample(b"plain", b"value"),
        Sample(None, b"no key"),
        Sample(b"empty value", b"", needs={"empty-value"}),
        Sample(b"tombstone", None, needs={"tombstone"}),
        Sample(b"", b"empty key", needs={"empty-key"}),
        Sample("schlüssel-键".encode(), "wert-値-🦀".encode()),
        Sample(bytes(range(256)), bytes(reversed(range(256))) * 3, needs={"binary"}),
        Sample(b"headers", b"x", [("first", b"1"), ("second", b"two")]),
        Sample(b"doubled header", b"x", [("same", b"1"), ("same", b"2"), ("same", b"1")]),
        Sample(b"null header", b"x", [("null", None), ("empty", b"")], needs={"null-header"}),
        Sample(b"binary header", b"x", [("bytes", b"\x00\xff\x80")], needs={"binary"}),
        Sample(b"timestamp", b"x", timestamp=timestamp, needs={"timestamp"}),
        Sample(b"compressible", b"abcdefgh" * 90_000),
        Sample(b"incompressible", base64.b64encode(chance.randbytes(225_000))),
    ]
    samples += [Sample(b"key-%d" % (i % 7), b"%d-" % i + base64.b64encode(chance.randbytes(i % 90)))
                for i in range(200)]
    return samples


def numbered(count, prefix="n"):
    """Small records whose value says which one it is."""
    return [Sample(b"%s-%d" % (prefix.encode(), i % 11), b"%d" % i) for i in range(count)]


def recent_timestamp():
    """An hour ago: clearly not the time of sending, and clearly not old enough for retention."""
    return int(time.time() - 3600) * 1000


def sendable(samples, cannot):
    return [s for s in samples if not s.needs & cannot]


def encode(data):
    return None if data is None else base64.b64encode(data).decode()


def decode(text):
    return None if text is None else base64.b64decode(text)


def brief(value):
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(value)} long)"
