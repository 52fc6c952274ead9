"""Bytes no client would send, and requests no careful client would make.

The expected codes were read off Apache Kafka 4.3.1 by running these very cases against it.
"""
import random
import socket
import struct

from . import wire
from .report import Skipped, check, check_equal

OFFSET_OUT_OF_RANGE, INVALID_TOPIC, INVALID_REQUIRED_ACKS = 1, 17, 21
INVALID_PARTITIONS, INVALID_REPLICATION_FACTOR, INVALID_CONFIG = 37, 38, 40
OUT_OF_ORDER_SEQUENCE, INVALID_PRODUCER_EPOCH, INVALID_REQUEST = 45, 47, 42
INIT_PRODUCER_ID = 22
RSS_GROWTH_MAX_MIB = 200


class Target:
    """The broker under test; `pid` lets a case look at its memory."""

    def __init__(self, address, run_id, pid=None):
        self.address, self.run_id, self.pid = address, run_id, pid

    def connect(self, timeout_s=10):
        return wire.Connection(self.address, timeout_s)

    def topic(self, name, partitions=1, configs=None):
        """A fresh topic, created."""
        topic = f"b-{self.run_id}-{name}"
        with self.connect() as connection:
            check_equal(connection.create_topic(topic, partitions, configs), wire.NONE, f"CreateTopics {topic}")
            connection.wait_for_leaders(topic, partitions)
        return topic

    def check_alive(self):
        """Another connection is served as if nothing had happened."""
        with self.connect() as connection:
            check(connection.api_versions(), "ApiVersions listed nothing")
            connection.metadata([])

    def rss_mib(self, field="VmRSS"):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) // 1024 for line in status if line.startswith(field))


def outcome(connection, wait_s=1.0):
    """What became of bytes just sent: `reply`, `closed`, or `silent` when neither came in time."""
    connection.socket.settimeout(wait_s)
    try:
        connection.receive()
        return "reply"
    except socket.timeout:
        return "silent"
    except (OSError, ValueError):
        return "closed"


# --- frames -----------------------------------------------------------------------------------------------------


def garbage(target):
    """Random bytes end in a closed connection or an error, for every one of 100 seeds."""
    for seed in range(100):
        data = random.Random(seed).randbytes(1 + seed * 7)
        with target.connect() as connection:
            try:
                connection.send(data)
                # The other side must not wait for ever for the rest of a frame that will never come.
                connection.socket.shutdown(socket.SHUT_WR)
                check(outcome(connection, 5) != "silent", f"seed {seed}: neither answered nor closed")
            except (BrokenPipeError, ConnectionResetError):
                pass
            except OSError:
                pass
    target.check_alive()


def http_request(target):
    """The most common mistake: a browser or a health check on the Kafka port."""
    with target.connect() as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        check_equal(outcome(connection, 5), "closed", "outcome")
    target.check_alive()


def frame_sizes(target):
    """A frame that is negative, empty or larger than socket.request.max.bytes closes the connection at once."""
    for size in (-1, -(1 << 31), 0, 4, (1 << 31) - 1, 200 << 20):
        with target.connect() as connection:
            connection.send(struct.pack(">i", size) + b"\0" * 4)
            check_equal(outcome(connection, 5), "closed", f"outcome of frame size {size}")
    target.check_alive()


def truncated_frames(target):
    """A request cut at any byte, then the end of the stream: no reply, no harm."""
    whole = wire.request_bytes(wire.METADATA, 4, 7, wire.array([wire.string("t")]) + b"\0")
    for size in range(1, len(whole)):
        with target.connect() as connection:
            connection.send(whole[:size])
            connection.socket.shutdown(socket.SHUT_WR)
            check_equal(outcome(connection, 5), "closed", f"outcome of {size} bytes")
    target.check_alive()


def half_frame_does_not_block(target):
    """50 connections that stop in the middle of a frame do not keep a 51st from working."""
    stalled = [target.connect() for _ in range(50)]
    for connection in stalled:
        connection.send(struct.pack(">i", 1 << 20) + b"\0\x03")
    target.check_alive()
    for connection in stalled:
        connection.close()


def unknown_apis(target):
    """An API key that does not exist, or a version that does not: an error or the end of this connection only."""
    for api, version in [(999, 0), (-1, 0), (4, 0), (32767, 32767), (wire.METADATA, 99), (wire.METADATA, -1),
                         (wire.FETCH, 99), (wire.PRODUCE, 99)]:
        with target.connect() as connection:
            connection.send(wire.request_bytes(api, version, 1, b"\0" * 16))
            check(outcome(connection, 5) != "silent", f"API {api} version {version}: neither answered nor closed")
    target.check_alive()


def api_versions_fallback(target):
    """An unknown ApiVersions version is answered in version 0 with UNSUPPORTED_VERSION, so that clients can step down."""
    for version in (6, 99, 32767):
        with target.connect() as connection:
            connection.send(wire.request_bytes(wire.API_VERSIONS, version, 77, b"\0" * 8))
            correlation, reader = connection.receive()
            check_equal(correlation, 77, "correlation id")
            check_equal(reader.int16(), wire.UNSUPPORTED_VERSION, "error")
            listed = reader.array(lambda: reader.unpack("hhh"))
            check_equal([entry[:2] for entry in listed], [(wire.API_VERSIONS, 0)], "APIs listed")
            check_equal(reader.rest(), 0, "bytes left over")
            check(connection.api_versions(), "the same connection must go on")


def absurd_lengths(target):
    """Every API and version with lengths far beyond the frame, at every place a length may stand."""
    with target.connect() as connection:
        apis = connection.api_versions()
    before = target.rss_mib() if target.pid else 0
    silent = sent = 0
    patterns = [b"\xff\xff\xff\xff\x0f" + b"\0" * 4, b"\x7f\xff\xff\xff" * 3, b"\x7f\xff\x7f\xff\xff\xff\xff\xff"]
    for api, (low, high) in sorted(apis.items()):
        for version in range(low, high + 1):
            for pattern in patterns:
                silent += sum(absurd_body(target, api, version, zeros, pattern) for zeros in (0, 1, 2, 3, 5, 7, 12, 21))
                sent += 8
        target.check_alive()
    if target.pid:
        growth = target.rss_mib("VmHWM") - before
        check(growth <= RSS_GROWTH_MAX_MIB, f"memory grew by {growth} MiB")
    return f"{sent} requests over {len(apis)} APIs, {silent} unanswered within 20 ms"


def absurd_body(target, api, version, zeros, pattern):
    """1 if the broker was silent: some of these are valid requests that may wait, such as a long poll."""
    with target.connect() as connection:
        connection.send(wire.request_bytes(api, version, 1, b"\0" * zeros + pattern))
        return outcome(connection, 0.02) == "silent"


def absurd_known_places(target):
    """A claimed 2^31-1 entries exactly where an array starts, in requests that are right up to there."""
    huge = struct.pack(">i", (1 << 31) - 1)
    bodies = [
        (wire.METADATA, 4, huge), (wire.PRODUCE, 7, wire.string(None) + struct.pack(">hi", 1, 1000) + huge),
        (wire.PRODUCE, 7, wire.string(None) + struct.pack(">hi", 1, 1000) + struct.pack(">i", 1) + wire.string("t") + huge),
        (wire.FETCH, 4, struct.pack(">iiiib", -1, 10, 1, 1, 0) + huge),
        (wire.LIST_OFFSETS, 1, struct.pack(">i", -1) + huge), (wire.CREATE_TOPICS, 2, huge),
        (wire.DELETE_TOPICS, 1, huge), (wire.PRODUCE, 7, wire.produce_body("t", 0, b"")[:-4] + huge),
    ]
    for api, version, body in bodies:
        with target.connect() as connection:
            connection.send(wire.request_bytes(api, version, 1, body))
            check(outcome(connection, 5) != "silent", f"API {api}: neither answered nor closed")
    target.check_alive()


def pipelined_order(target):
    """200 requests of mixed kinds in one write are answered completely and in order."""
    topic = target.topic("pipelined")
    batch = wire.record_batch([(b"k", b"v" * 100)])
    fetch = struct.pack(">iiiib", -1, 0, 0, 1 << 20, 0) + wire.array(
        [wire.string(topic) + wire.array([struct.pack(">iqi", 0, 0, 1 << 20)])])
    kinds = [
        (wire.METADATA, 4, wire.array([wire.string(topic)]) + b"\0"), (wire.API_VERSIONS, 0, b""),
        (wire.PRODUCE, 7, wire.produce_body(topic, 0, batch)), (wire.FETCH, 4, fetch),
    ]
    with target.connect() as connection:
        connection.send(b"".join(wire.request_bytes(*kinds[i % 4][:2], i, kinds[i % 4][2]) for i in range(200)))
        check_equal([connection.receive()[0] for _ in range(200)], list(range(200)), "correlation ids")
        check_equal(connection.list_offset(topic, 0, -1)[2], 50, "end offset")


def slow_reader(target):
    """A client that asks and never reads costs bounded memory, and nobody else notices."""
    if not target.pid:
        raise Skipped("needs --pid")
    topic = target.topic("slow")
    with target.connect() as connection:
        batch = wire.record_batch([(None, b"x" * 900_000)])
        for _ in range(20):
            check_equal(connection.produce(topic, 0, batch)[0], wire.NONE, "produce")
    before = target.rss_mib()
    fetch = struct.pack(">iiiib", -1, 0, 0, 16 << 20, 0) + wire.array(
        [wire.string(topic) + wire.array([struct.pack(">iqi", 0, 0, 16 << 20)])])
    readers = [target.connect() for _ in range(20)]
    for connection in readers:
        connection.socket.settimeout(0.2)
        try:
            connection.send(b"".join(wire.request_bytes(wire.FETCH, 4, i, fetch) for i in range(100)))
        except socket.timeout:
            pass
    target.check_alive()
    growth = target.rss_mib("VmHWM") - before
    for connection in readers:
        connection.close()
    check(growth <= RSS_GROWTH_MAX_MIB, f"memory grew by {growth} MiB for 20 readers asking for 32 GB")
    target.check_alive()
    return f"memory grew by {growth} MiB"


# --- batches ----------------------------------------------------------------------------------------------------


def refused_batches(target):
    """Broken batches are refused with Kafka's code and nothing of them is stored."""
    topic = target.topic("refused", configs={"max.message.bytes": "20000"})
    good = wire.record_batch([(b"k", b"value one"), (b"k", b"value two")])
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    # Apache Kafka overlooks a batch that is not complete and then finds none, hence its INVALID_RECORD; to call such
    # bytes corrupt says what they are.
    incomplete = (wire.INVALID_RECORD, wire.CORRUPT_MESSAGE)
    cases = [
        ("a flipped bit in the records", flipped, wire.CORRUPT_MESSAGE),
        ("a wrong CRC", wire.record_batch([(b"k", b"v")], crc=1), wire.CORRUPT_MESSAGE),
        ("too large", wire.record_batch([(b"k", b"x" * 30_000)]), wire.MESSAGE_TOO_LARGE),
        ("a count that does not match", with_header(good, 57, ">i", 7), wire.INVALID_RECORD),
        ("a negative count", with_header(good, 57, ">i", -1), wire.INVALID_RECORD),
        ("two batches", good + good, wire.INVALID_RECORD),
        ("no batch", b"", wire.INVALID_RECORD),
        ("magic 0", with_header(good, 16, ">b", 0), wire.INVALID_RECORD),
        ("magic 1", with_header(good, 16, ">b", 1), wire.INVALID_RECORD),
        ("magic 3", with_header(good, 16, ">b", 3), wire.CORRUPT_MESSAGE),
        ("a control batch", wire.record_batch([(b"\0\0\0\0", b"v")], attributes=0x20), wire.INVALID_RECORD),
        ("cut short", good[:-5], incomplete),
        ("only a header's first bytes", good[:30], incomplete),
        ("a length beyond the request", good[:8] + struct.pack(">i", 1 << 30) + good[12:], incomplete),
        ("a negative length", good[:8] + struct.pack(">i", -5) + good[12:], wire.CORRUPT_MESSAGE),
    ]
    wrong = []
    with target.connect() as connection:
        for what, batch, expected in cases:
            try:
                code = connection.produce(topic, 0, batch)[0]
            except (OSError, ValueError) as error:
                code = f"{type(error).__name__}"
                connection.close()
                connection = target.connect()
            if code not in (expected if isinstance(expected, tuple) else (expected,)):
                wrong.append(f"{what}: {code} instead of {expected}")
            end = connection.list_offset(topic, 0, -1)[2]
            if end != 0:
                wrong.append(f"{what}: was stored, end offset {end}")
        check_equal(wrong, [], "codes")
        check_equal(connection.produce(topic, 0, good), (wire.NONE, 0), "a good batch after them")


def with_header(batch, at, form, value):
    """The batch with one header field replaced and, where the field is covered by it, the CRC made right again."""
    changed = bytearray(batch)
    struct.pack_into(form, changed, at, value)
    if at >= wire.CRC_FROM:
        struct.pack_into(">I", changed, wire.CRC_AT, wire.crc32c(changed[wire.CRC_FROM:]))
    return bytes(changed)


def timestamps(target):
    """KIP-937: more than an hour ahead is refused by default; a bound on the past holds where it is set."""
    topic = target.topic("timestamps", configs={"message.timestamp.before.max.ms": "60000"})
    now = wire.time.time_ns() // 1_000_000
    for shift_ms, expected in [(0, wire.NONE), (7_200_000, wire.INVALID_TIMESTAMP), (-7_200_000, wire.INVALID_TIMESTAMP),
                               (1_800_000, wire.NONE), (-30_000, wire.NONE)]:
        with target.connect() as connection:
            batch = wire.record_batch([(b"k", b"v")], timestamp=now + shift_ms)
            check_equal(connection.produce(topic, 0, batch)[0], expected, f"code at {shift_ms:+} ms")


def log_append_time(target):
    """With message.timestamp.type=LogAppendTime the broker's clock goes into the batch, and its CRC still holds."""
    topic = target.topic("append-time", configs={"message.timestamp.type": "LogAppendTime"})
    before = wire.time.time_ns() // 1_000_000
    with target.connect() as connection:
        check_equal(connection.produce(topic, 0, wire.record_batch([(b"k", b"v")], timestamp=5)), (0, 0), "produce")
        _, _, data = connection.fetch(topic, 0, 0)
    check_equal([r[0] for r in wire.parse_records(data)], [0], "offsets")
    attributes, = struct.unpack_from(">h", data, 21)
    stored, = struct.unpack_from(">q", data, 35)
    check(attributes & 8, "the timestamp type bit is not set")
    check(before <= stored <= before + 60_000, f"stored timestamp {stored}, clock {before}")


# --- requests ---------------------------------------------------------------------------------------------------


def unknown_places(target):
    """Topics, partitions and offsets that do not exist, by Kafka's codes."""
    topic = target.topic("known")
    batch = wire.record_batch([(b"k", b"v")])
    with target.connect() as connection:
        for where in ((f"nowhere-{target.run_id}", 0), (topic, 99), (topic, -1)):
            unknown = wire.UNKNOWN_TOPIC_OR_PARTITION
            check_equal(connection.produce(*where, batch)[0], unknown, f"Produce to {where}")
            check_equal(connection.fetch(*where, 0)[0], unknown, f"Fetch of {where}")
            check_equal(connection.list_offset(*where, -1)[0], unknown, f"ListOffsets of {where}")
        check_equal(connection.fetch(topic, 0, 5)[0], OFFSET_OUT_OF_RANGE, "Fetch beyond the end")
        check_equal(connection.fetch(topic, 0, -7)[0], OFFSET_OUT_OF_RANGE, "Fetch below zero")
        check_equal(connection.produce(topic, 0, batch, acks=5)[0], INVALID_REQUIRED_ACKS, "Produce with acks=5")
        check_equal(connection.list_offset(topic, 0, -1)[2], 0, "end offset")


def bad_topics(target):
    """CreateTopics and DeleteTopics refuse by Kafka's codes."""
    name = f"b-{target.run_id}-bad"
    with target.connect() as connection:
        for what, topic, partitions, configs, expected in [
                ("a bad value", name, 1, {"retention.ms": "soon"}, INVALID_CONFIG),
                ("an unknown key", name, 1, {"no.such.config": "1"}, INVALID_CONFIG),
                ("a value out of bounds", name, 1, {"segment.bytes": "1"}, INVALID_CONFIG),
                ("no partitions", name, 0, {}, INVALID_PARTITIONS),
                ("a space", "a b", 1, {}, INVALID_TOPIC), ("a path", "../x", 1, {}, INVALID_TOPIC),
                ("a dot", ".", 1, {}, INVALID_TOPIC), ("empty", "", 1, {}, INVALID_TOPIC),
                ("too long", "x" * 250, 1, {}, INVALID_TOPIC)]:
            check_equal(connection.create_topic(topic, partitions, configs), expected, f"CreateTopics with {what}")
        check_equal(connection.create_topic(name, 1), wire.NONE, "CreateTopics")
        check_equal(connection.create_topic(name, 1), wire.TOPIC_ALREADY_EXISTS, "CreateTopics again")
        check_equal(connection.delete_topic(name), wire.NONE, "DeleteTopics")
        check_equal(connection.delete_topic(name), wire.UNKNOWN_TOPIC_OR_PARTITION, "DeleteTopics again")


def idempotent_sequences(target):
    """A repeated batch is acknowledged once more at its old offset; a gap and an old epoch are refused."""
    topic = target.topic("sequences")
    with target.connect() as connection:
        reader = connection.request(INIT_PRODUCER_ID, 0, wire.string(None) + struct.pack(">i", 60_000))
        _, error, producer_id, epoch = reader.unpack("ihqh")
        check_equal(error, wire.NONE, "InitProducerId")

        def send(sequence, count=2, at_epoch=epoch):
            records = [(b"k", b"%d" % (sequence + i)) for i in range(count)]
            batch = wire.record_batch(records, producer=(producer_id, at_epoch, sequence))
            return connection.produce(topic, 0, batch)
        check_equal(send(0), (wire.NONE, 0), "first batch")
        check_equal(send(2), (wire.NONE, 2), "second batch")
        check_equal(send(2), (wire.NONE, 2), "second batch again")
        check_equal(send(0), (wire.NONE, 0), "first batch again")
        check_equal(send(9)[0], OUT_OF_ORDER_SEQUENCE, "a gap")
        check_equal(send(4), (wire.NONE, 4), "the right one after it")
        check_equal(send(0, at_epoch=epoch + 1), (wire.NONE, 6), "a new epoch starts at 0")
        check_equal(send(6)[0], INVALID_PRODUCER_EPOCH, "the old epoch")
        check_equal(connection.list_offset(topic, 0, -1)[2], 8, "end offset")


CASES = [
    ("garbage", garbage), ("http request", http_request), ("frame sizes", frame_sizes),
    ("truncated frames", truncated_frames), ("half frames", half_frame_does_not_block),
    ("unknown APIs and versions", unknown_apis), ("ApiVersions fallback", api_versions_fallback),
    ("absurd lengths everywhere", absurd_lengths), ("absurd lengths in arrays", absurd_known_places),
    ("pipelined order", pipelined_order), ("slow reader", slow_reader), ("refused batches", refused_batches),
    ("timestamps", timestamps), ("log append time", log_append_time), ("unknown places", unknown_places),
    ("bad topics", bad_topics), ("idempotent sequences", idempotent_sequences),
]
