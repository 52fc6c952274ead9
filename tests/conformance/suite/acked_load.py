"""Writers that remember every acknowledgement, and the judge who looks for each of them afterwards.

A record's value says who wrote it and which of his it is, so that the log alone shows loss, doubling and disorder.
A batch without an acknowledgement is unknown: it may be there or not. An idempotent writer sends it again after the
restart, and then it must be there exactly once.
"""
import random
import struct
import threading

from . import wire
from .report import check, check_equal

INIT_PRODUCER_ID, OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR = 22, 8, 9, 10
DUPLICATE_SEQUENCE_NUMBER = 46
IN_FLIGHT_MAX = 5


class Writer:
    """One producer on one partition; lives through many broker runs.

    Invariant: sequences below `next_sequence` were sent; each is acknowledged, pending or unknown.
    """

    def __init__(self, name, topic, partition, idempotent, acks=-1):
        self.name, self.topic, self.partition = name, topic, partition
        self.idempotent, self.acks = idempotent, acks
        self.chance = random.Random(name)
        self.producer = (-1, -1)
        self.next_sequence = 0
        self.pending = []
        self.acked = {}
        self.refusals = {}

    def run(self, address, stop):
        """Sends until told to stop, refused, or cut off. One thread at a time."""
        try:
            with wire.Connection(address, timeout_s=20) as connection:
                self._prepare(connection)
                self._pump(connection, stop)
        except (OSError, ValueError):
            pass

    def _prepare(self, connection):
        if not self.idempotent:
            self.pending = []
        elif self.producer[0] < 0:
            reader = connection.request(INIT_PRODUCER_ID, 0, wire.string(None) + struct.pack(">i", 60_000))
            _, error, producer_id, epoch = reader.unpack("ihqh")
            if error != wire.NONE:
                raise ValueError(f"InitProducerId answered error {error}")
            self.producer = (producer_id, epoch)
        for _, _, batch in self.pending:
            self._send(connection, batch)

    def _pump(self, connection, stop):
        while True:
            while len(self.pending) < IN_FLIGHT_MAX and not stop.is_set():
                self._send(connection, self._next_batch())
            if not self.pending:
                return
            error, base = wire.parse_produce(connection.receive()[1], 7)[0]
            if error not in (wire.NONE, DUPLICATE_SEQUENCE_NUMBER):
                self.refusals[error] = self.refusals.get(error, 0) + 1
                return
            first, count, _ = self.pending.pop(0)
            if error == wire.NONE:
                for i in range(count):
                    self.acked[base + i] = first + i

    def _send(self, connection, batch):
        connection.send(wire.request_bytes(wire.PRODUCE, 7, 1,
                                           wire.produce_body(self.topic, self.partition, batch, self.acks)))

    def _next_batch(self):
        """Mostly small batches, now and then one over many pages."""
        first, count = self.next_sequence, self.chance.randint(1, 8)
        size = 6000 if self.chance.random() < 0.02 else self.chance.randint(0, 120)
        records = [(b"k", b"%s:%d:" % (self.name.encode(), first + i) + b"x" * size) for i in range(count)]
        batch = wire.record_batch(records, producer=(*self.producer, first if self.idempotent else -1))
        self.next_sequence += count
        self.pending.append((first, count, batch))
        return batch


class Judge:
    """Compares the log with what the writers remember. Keeps how far each partition has been read."""

    def __init__(self, writers):
        self.writers = {w.name: w for w in writers}
        self.places = sorted({(w.topic, w.partition) for w in writers})
        self.restart()

    def restart(self):
        """Forget what was read: the next look goes over everything."""
        self.next_offset = {place: 0 for place in self.places}
        self.last_sequence = {name: -1 for name in self.writers}

    def judge(self, address):
        """Raises on the first record that is lost, doubled, moved or out of order; returns how many were read."""
        read = 0
        with wire.Connection(address, timeout_s=30) as connection:
            for place in self.places:
                start = self.next_offset[place]
                found = self._read(connection, place, start)
                read += len(found)
                self._check_acked(place, start, found)
                self.next_offset[place] = start + len(found)
        return read

    def _read(self, connection, place, start):
        found = []
        for offset, _, value in connection.read_partition(*place, start):
            check_equal(offset, start + len(found), f"{place}: offset")
            name, sequence, _ = value.split(b":", 2)
            name, sequence = name.decode(), int(sequence)
            writer, last = self.writers[name], self.last_sequence[name]
            check(sequence > last, f"{place}: {name} has {sequence} at {offset} behind {last}: doubled or disordered")
            check(not writer.idempotent or sequence == last + 1,
                  f"{place}: {name} has {sequence} at {offset} right behind {last}: lost")
            self.last_sequence[name] = sequence
            found.append((name, sequence))
        return found

    def _check_acked(self, place, start, found):
        for writer in self.writers.values():
            if (writer.topic, writer.partition) != place:
                continue
            for offset, sequence in writer.acked.items():
                if offset >= start:
                    check(offset - start < len(found),
                          f"{place}: acknowledged record {writer.name}:{sequence} at {offset} is lost, "
                          f"the log ends at {start + len(found)}")
                    check_equal(found[offset - start], (writer.name, sequence), f"{place}: record at {offset}")


class Committer:
    """Commits ever higher offsets of one group; the last acknowledged one must be found after a restart."""

    def __init__(self, group, topic):
        self.group, self.topic = group, topic
        self.acked = self.sent = -1

    def run(self, address, stop):
        try:
            with wire.Connection(address, timeout_s=20) as connection:
                self.find_coordinator(connection)
                while not stop.is_set():
                    self.sent += 1
                    if self.commit(connection, self.sent) != wire.NONE:
                        return
                    self.acked = self.sent
        except (OSError, ValueError):
            pass

    def find_coordinator(self, connection):
        for _ in range(200):
            reader = connection.request(FIND_COORDINATOR, 0, wire.string(self.group))
            if reader.int16() == wire.NONE:
                return
            threading.Event().wait(0.02)

    def commit(self, connection, offset):
        one = wire.string(self.topic) + wire.array([struct.pack(">iq", 0, offset) + wire.string("")])
        body = wire.string(self.group) + struct.pack(">i", -1) + wire.string("") + struct.pack(">q", -1)
        reader = connection.request(OFFSET_COMMIT, 2, body + wire.array([one]))
        replies = reader.array(lambda: (reader.string(), reader.array(lambda: reader.unpack("ih"))))
        return replies[0][1][0][1]

    def judge(self, address):
        with wire.Connection(address, timeout_s=20) as connection:
            self.find_coordinator(connection)
            one = wire.string(self.topic) + wire.array([struct.pack(">i", 0)])
            for _ in range(500):
                reader = connection.request(OFFSET_FETCH, 1, wire.string(self.group) + wire.array([one]))
                _, offset, _, error = reader.array(lambda: (reader.string(), reader.array(
                    lambda: (reader.int32(), reader.int64(), reader.string(), reader.int16()))))[0][1][0]
                if error not in (14, 15, 16):
                    break
                # The coordinator is still loading.
                threading.Event().wait(0.02)
        check_equal(error, wire.NONE, "OffsetFetch")
        check(self.acked <= offset <= self.sent, f"committed {self.acked} (sent {self.sent}), found {offset}")
        self.acked = self.sent = offset


class Creator:
    """Creates topics one after the other; every acknowledged one must exist after a restart."""

    def __init__(self, prefix):
        self.prefix, self.acked, self.sent = prefix, [], 0

    def run(self, address, stop):
        try:
            with wire.Connection(address, timeout_s=20) as connection:
                while not stop.wait(0.05):
                    topic = f"{self.prefix}-{self.sent}"
                    self.sent += 1
                    if connection.create_topic(topic, 1) != wire.NONE:
                        return
                    self.acked.append(topic)
        except (OSError, ValueError):
            pass

    def judge(self, address):
        with wire.Connection(address, timeout_s=20) as connection:
            found = connection.metadata()
        missing = [t for t in self.acked if t not in found or found[t][0] != wire.NONE]
        check_equal(missing, [], "created topics that are gone")


class Load:
    """Everything at once against one broker: writers of each kind, a committing group, new topics."""

    def __init__(self, topic):
        self.topic = topic
        self.writers = [
            Writer("plain-0", topic, 0, False), Writer("leader-1", topic, 1, False, acks=1),
            Writer("once-2", topic, 2, True), Writer("once-3", topic, 3, True),
            Writer("shared-a", topic, 4, False), Writer("shared-b", topic, 4, True),
        ]
        self.committer = Committer(f"{topic}-group", topic)
        self.creator = Creator(f"{topic}-created")
        self.judge = Judge(self.writers)

    def prepare(self, address):
        """Small segments, so that crashes hit rolls too."""
        with wire.Connection(address) as connection:
            check_equal(connection.create_topic(self.topic, 5, {"segment.bytes": str(1 << 20)}), wire.NONE, "create")
            connection.wait_for_leaders(self.topic, 5)

    def run(self, address, moment):
        """Runs until `moment()` returns; what that does to the broker ends the connections."""
        stop = threading.Event()
        workers = [*self.writers, self.committer, self.creator]
        threads = [threading.Thread(target=w.run, args=(address, stop), daemon=True) for w in workers]
        for thread in threads:
            thread.start()
        try:
            moment()
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)

    def check(self, address, everything=False):
        """After a restart: all that was acknowledged is there. Returns a note for the report."""
        if everything:
            self.judge.restart()
        read = self.judge.judge(address)
        self.committer.judge(address)
        self.creator.judge(address)
        return f"{read} records read"

    def acked_count(self):
        return sum(len(w.acked) for w in self.writers)
