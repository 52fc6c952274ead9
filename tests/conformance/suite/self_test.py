"""The judges judged: each of them has to notice what it is there to notice.

Run by tests/conformance/self-test; needs no broker, and root only for the disk.
"""
import contextlib
import io
import mmap
import os

from . import wire
from .acked_load import Judge, Writer
from .disk import Disk, why_unavailable
from .records import Sample, encode
from .report import Failure, Report, Skipped, check, check_equal


def checksum_and_batches():
    """The published check value of CRC-32C, and a batch that comes back as it went in."""
    check_equal(wire.crc32c(b"123456789"), 0xE3069283, "CRC-32C")
    records = [(b"k", b"v"), (None, b""), (b"", None)]
    found = list(wire.parse_records(wire.record_batch(records)))
    check_equal(found, [(i, *pair) for i, pair in enumerate(records)], "records")
    broken = bytearray(wire.record_batch(records))
    broken[-1] ^= 1
    try:
        list(wire.parse_records(bytes(broken)))
    except ValueError:
        return
    check(False, "a flipped bit went unnoticed")


class FakeLog(Judge):
    """A judge that reads a list of (name, sequence) instead of a broker."""

    def __init__(self, writer, log):
        self.log = log
        super().__init__([writer])

    def verdict(self):
        place = self.places[0]
        found = self._read(self, place, 0)
        self._check_acked(place, 0, found)

    def read_partition(self, *_):
        return [(i, b"k", f"{name}:{sequence}:".encode()) for i, (name, sequence) in enumerate(self.log)]


def judge_of_logs():
    """Complete logs pass; loss, doubling, disorder and a moved record do not."""
    cases = [  # (idempotent, acknowledged {offset: sequence}, sequences in the log, passes)
        (False, {0: 0, 1: 1}, [0, 1], True), (False, {0: 0, 1: 2}, [0, 2], True), (False, {0: 0}, [0, 1], True),
        (False, {0: 0, 1: 1}, [0], False), (False, {0: 0}, [], False), (False, {0: 0, 1: 1}, [0, 0, 1], False),
        (False, {}, [1, 0], False), (False, {0: 0, 2: 1}, [0, 1], False), (False, {1: 1}, [0, 2], False),
        (True, {0: 0}, [0, 1], True), (True, {0: 0, 1: 2}, [0, 2], False), (True, {0: 0}, [0, 1, 1], False),
    ]
    for idempotent, acked, log, passes in cases:
        writer = Writer("w", "t", 0, idempotent)
        writer.acked = acked
        try:
            FakeLog(writer, [("w", s) for s in log]).verdict()
            verdict = True
        except Failure:
            verdict = False
        check_equal(verdict, passes, f"verdict on {log} with {acked} acknowledged, idempotent {idempotent}")


def record_differences():
    """A record that came back changed in any part is named."""
    sample = Sample(b"k", b"v", [("h", b"1")], timestamp=5)
    right = {"k": encode(b"k"), "v": encode(b"v"), "t": 5, "h": [["h", encode(b"1")]]}
    check_equal(sample.difference(right, set()), None, "the right one")
    for field, value in [("k", None), ("v", encode(b"")), ("t", 6), ("h", [])]:
        check(sample.difference({**right, field: value}, set()), f"a wrong `{field}` went unnoticed")


def failing_cases_count():
    """A report in which something failed, or nothing ran, does not end well."""
    report = Report()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        empty = report.finish()
        report.case("meant to fail", lambda: check(False, "on purpose"))
        failed = report.finish()
    check_equal((empty, failed), (1, 1), "exit statuses")
    check_equal(printed.getvalue().splitlines()[-1], "0 passed, 1 failed", "last line")


def volatile_cache():
    """Direct writes into allocated blocks are lost in a power cut, unless they were synced."""
    reason = why_unavailable()
    if reason:
        raise Skipped(reason)
    old, new = b"o" * 4096, b"n" * 4096
    with Disk(32, volatile=True) as disk:
        path = disk.mount_point / "file"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
        write_direct(descriptor, 0, old)
        write_direct(descriptor, 4096, old)
        os.fsync(descriptor)
        write_direct(descriptor, 0, new)
        os.fsync(descriptor)
        write_direct(descriptor, 4096, new)
        note = disk.cut_power(0)
        os.close(descriptor)
        disk.restore()
        check_equal(path.read_bytes(), new + old, "content after the cut")
        return note


def write_direct(descriptor, offset, data):
    """Direct I/O wants aligned memory, which an anonymous mapping is."""
    memory = mmap.mmap(-1, len(data))
    memory.write(data)
    os.pwritev(descriptor, [memory], offset)
    memory.close()


CASES = [
    ("checksum and batches", checksum_and_batches), ("judge of logs", judge_of_logs),
    ("record differences", record_differences), ("failing cases count", failing_cases_count),
    ("volatile cache", volatile_cache),
]
