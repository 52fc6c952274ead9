"""Batches with a right checksum whose records are not what the header says: refused by Kafka's code, with the records
named where Kafka names them, and nothing of them stored; and what the broker believes of a batch whose header lies.

Every case was sent to Apache Kafka 4.4.0. It has the same codes and names the same records, with these exceptions, in
which Millrace says INVALID_RECORD: UNKNOWN_SERVER_ERROR for what cannot be unpacked and for garbage at some places; and
accepted, though consumers break on it, are lengths below -1, offsets that do not rise, and sizes inside compressed batches.
"""
import gzip
import struct
import zlib

from . import wire
from .report import check, check_equal

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
UNSUPPORTED_COMPRESSION_TYPE = 76
SECOND = 1_000
INT_MAX = (1 << 31) - 1


def now_ms():
    return wire.time.time_ns() // 1_000_000


def record(index, key=b"k", value=b"v", delta_ms=0, offset_delta=None, header_count=b"\0", key_bytes=None, value_bytes=None,
           length=None, tail=b""):
    """One record; the odd parameters exist to get it wrong."""
    body = b"\0" + wire.varint(delta_ms) + wire.varint(index if offset_delta is None else offset_delta)
    body += wire.varbytes(key) if key_bytes is None else key_bytes
    body += wire.varbytes(value) if value_bytes is None else value_bytes
    body += header_count + tail
    return wire.varint(len(body) if length is None else length) + body


def batch(body, count=1, last_delta=None, base_ms=None, max_ms=None, codec=0, attributes=0):
    """A batch around `body`, its checksum right whatever it says."""
    base_ms = now_ms() if base_ms is None else base_ms
    after_crc = struct.pack(">hiqqqhii", codec | attributes, count - 1 if last_delta is None else last_delta, base_ms,
                            base_ms if max_ms is None else max_ms, -1, -1, -1, count) + body
    return struct.pack(">qiibI", 0, len(after_crc) + 9, -1, 2, wire.crc32c(after_crc)) + after_crc


def snappy_raw(data):
    """A raw snappy block of literals."""
    size, length = b"", len(data)
    while length >= 0x80:
        size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
    return size + bytes([length]) + literals(data)


def literals(data):
    parts = (data[at:at + 60] for at in range(0, len(data), 60))
    return b"".join(bytes([len(part) - 1 << 2]) + part for part in parts)


def snappy_java(data):
    """snappy-java's stream, as Java clients and librdkafka's peers write it: a header, then blocks behind their lengths."""
    parts = (snappy_raw(data[at:at + 1000]) for at in range(0, len(data), 1000))
    return b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1) + b"".join(wire.blob(part) for part in parts)


def zstd_raw(data, window=None):
    """A zstd frame of one raw block, of known size or with a window descriptor."""
    head = struct.pack("<IBI", 0xFD2FB528, 0xA0, len(data)) if window is None else struct.pack("<IBB", 0xFD2FB528, 0, window)
    return head + struct.pack("<I", len(data) << 3 | 1)[:3] + data


def refused_cases():
    """(what, bytes, codes that are right, indexes of the records named, configs of the topic)"""
    two = record(0) + record(1)
    huge = wire.varint(INT_MAX)
    # One record of 2^31-1 bytes, of which 300 MiB of zeros come.
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(huge + b"\0\0\0\1" + wire.varint(INT_MAX - 20))
    bomb += b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    bad, corrupt = (wire.INVALID_RECORD,), (wire.CORRUPT_MESSAGE, wire.INVALID_RECORD)
    plain = [
        ("garbage", b"\xde\xad\xbe\xef" * 20, 1),
        ("no records at all", b"", 1),
        ("zeros", bytes(100), 1),
        ("count 3 with two records", two, 3),
        ("count 1 with two records", two, 1),
        ("bytes left over", two + b"x", 2),
        ("2^31-1 records in 70 bytes", record(0), INT_MAX),
        ("2^31-1 headers", record(0, header_count=huge), 1),
        ("negative header count", record(0, header_count=wire.varint(-1)), 1),
        ("headers that are not there", record(0, header_count=wire.varint(1)), 1),
        ("negative header key", record(0, header_count=wire.varint(1), tail=wire.varint(-1) + wire.varint(-1)), 1),
        ("header key beyond the record", record(0, header_count=wire.varint(1), tail=huge + b"h"), 1),
        ("header value beyond the record", record(0, header_count=wire.varint(1), tail=b"\2h" + huge), 1),
        ("negative record size", wire.varint(-5) + bytes(10), 1),
        ("record size 0", wire.varint(0), 1),
        ("record size beyond the batch", record(0, length=1000), 1),
        ("record size too small", record(0, length=3), 1),
        ("record size too large by one, more behind", record(0, length=len(record(0))) + record(1), 2),
        ("key beyond the record", record(0, key_bytes=wire.varint(100) + b"k"), 1),
        ("value beyond the record", record(0, value_bytes=wire.varint(100) + b"v"), 1),
        ("value of 2^31-1", record(0, value_bytes=huge + b"v"), 1),
        ("a varint without end", b"\xff" * 20, 1),
        ("key size -2", record(0, key_bytes=wire.varint(-2)), 1),
        ("value size -2", record(0, value_bytes=wire.varint(-2)), 1),
        ("header value size -2", record(0, header_count=wire.varint(1), tail=b"\2h" + wire.varint(-2)), 1),
        ("offsets that do not rise", record(0) + record(0), 2),
        ("offset 5 of the first", record(5) + record(6), 2),
        ("negative offset", record(-1) + record(0), 2),
    ]
    for what, body, count in plain:
        yield what, batch(body, count), bad, [], {}
        yield f"{what}, gzip", batch(gzip.compress(body), count, codec=GZIP), bad, [], {}
    for name, codec in (("gzip", GZIP), ("snappy", SNAPPY), ("lz4", LZ4), ("zstd", ZSTD)):
        yield f"false {name}", batch(two, 2, codec=codec), corrupt, [], {}
        yield f"{name} of nothing", batch(b"", 2, codec=codec), corrupt, [], {}
    whole = gzip.compress(two)
    yield "gzip cut off", batch(whole[:-9], 2, codec=GZIP), corrupt, [], {}
    yield "gzip with a wrong checksum", batch(whole[:-8] + b"\0\0\0\0" + whole[-4:], 2, codec=GZIP), corrupt, [], {}
    yield "gzip bomb", batch(bomb, 1, codec=GZIP), corrupt, [], {}
    yield "snappy that claims 4 GB", batch(b"\xff\xff\xff\xff\x0f" + literals(two), 2, codec=SNAPPY), corrupt, [], {}
    yield "snappy block that claims 2 GB", batch(snappy_java(two)[:16] + b"\x7f\xff\xff\xffx", 2, codec=SNAPPY), corrupt, [], {}
    yield "zstd with a window of 2^41", batch(zstd_raw(two, window=0xF8), 2, codec=ZSTD), corrupt, [], {}
    yield "codec 5", batch(two, 2, codec=5), (UNSUPPORTED_COMPRESSION_TYPE,), [], {}
    yield "a control batch", batch(two, 2, attributes=0x20), bad, [], {}
    yield "offset range beyond the count", batch(two, 2, last_delta=INT_MAX - 1), bad, [], {}
    yield "negative offset range", batch(two, 2, last_delta=-5), bad, [], {}
    yield from refused_by_the_topic()


def refused_by_the_topic():
    late = 7_200_000
    keys = record(0) + record(1, key=None) + record(2) + record(3, key=None)
    times = record(0) + record(1, delta_ms=late) + record(2) + record(3, delta_ms=late)
    compact, past = {"cleanup.policy": "compact"}, {"message.timestamp.before.max.ms": "60000"}
    bad, time = (wire.INVALID_RECORD,), (wire.INVALID_TIMESTAMP,)
    packers = [("", 0, bytes), (", gzip", GZIP, gzip.compress), (", snappy", SNAPPY, snappy_java),
               (", raw snappy", SNAPPY, snappy_raw), (", zstd", ZSTD, zstd_raw)]
    for name, codec, pack in packers:
        yield f"null keys{name}", batch(pack(keys), 4, codec=codec), bad, [1, 3], compact
        yield f"the future behind the header{name}", batch(pack(times), 4, codec=codec), time, [1, 3], {}
    old = record(0) + record(1, delta_ms=-late)
    yield "the past behind the header", batch(old, 2), time, [1], past
    yield "null key and the future", batch(record(0, key=None) + record(1, delta_ms=late), 2), time, [0, 1], compact
    yield "a producer's LogAppendTime", batch(record(0) + record(1), 2, attributes=8), time, [0, 1], \
        {"message.timestamp.type": "LogAppendTime"}


def produce(connection, topic, data, version=8):
    """(error, base offset, indexes of the records named, message), by Produce v8."""
    reader = connection.request(wire.PRODUCE, version, wire.produce_body(topic, 0, data))
    reader.int32()
    reader.string()
    reader.int32()
    _, error, base, _, _ = reader.unpack("ihqqq")
    records = reader.array(lambda: (reader.int32(), reader.string()))
    return error, base, [index for index, _ in records], reader.string()


def refused(target):
    """Each is refused with its code, names its records, and leaves the log empty."""
    topics, wrong = {}, []
    for what, data, codes, indexes, configs in refused_cases():
        key = str(configs)
        if key not in topics:
            topics[key] = target.topic(f"records-{len(topics)}", configs=configs)
        with target.connect() as connection:
            try:
                error, _, named, _ = produce(connection, topics[key], data)
            except (OSError, ValueError) as problem:
                wrong.append(f"{what}: {type(problem).__name__}")
                continue
            if error not in codes or named != indexes:
                wrong.append(f"{what}: {error} {named} instead of {codes} {indexes}")
            end = connection.list_offset(topics[key], 0, -1)[2]
            if end != 0:
                wrong.append(f"{what}: was stored, end offset {end}")
                topics[key] = target.topic(f"records-{len(topics)}-{len(wrong)}", configs=configs)
    check_equal(wrong, [], "what is wrong")


def true_times(target):
    """ListOffsets by time goes by the records where the header's largest timestamp is too small, as sarama and kafkajs send."""
    base = now_ms() - 60_000
    body = record(0) + record(1, delta_ms=SECOND) + record(2)
    packers = [("plain", 0, bytes), ("gzip", GZIP, gzip.compress), ("snappy", SNAPPY, snappy_java), ("zstd", ZSTD, zstd_raw)]
    for name, codec, pack in packers:
        for header, max_ms in (("the first's", base), ("unset", -1), ("too large", base + 5 * SECOND)):
            topic = target.topic(f"times-{name}-{header[:3]}")
            with target.connect() as connection:
                sent = batch(pack(body), 3, base_ms=base, max_ms=max_ms, codec=codec)
                check_equal(produce(connection, topic, sent)[0], wire.NONE, f"{name}, header {header}")
                for after_ms, expected in [(0, (base, 0)), (1, (base + SECOND, 1)), (SECOND, (base + SECOND, 1)), (SECOND + 1, (-1, -1))]:
                    found = connection.list_offset(topic, 0, base + after_ms)
                    check_equal(found, (wire.NONE, *expected), f"{name}, header {header}: ListOffsets at +{after_ms} ms")
                _, _, data = connection.fetch(topic, 0, 0)
                check_equal(data[wire.HEADER_BYTES:], sent[wire.HEADER_BYTES:], "the records as they were sent")
                check_equal(struct.unpack_from(">I", data, wire.CRC_AT)[0], wire.crc32c(data[wire.CRC_FROM:]), "their checksum")


def lawful(target):
    """What is unusual and right is taken: null keys and values, repeated headers, timestamps that fall or are -1."""
    headers = wire.varint(3) + b"\2h" + wire.varbytes(b"1") + b"\2h" + wire.varbytes(None) + wire.varint(0) + wire.varbytes(b"")
    base = now_ms()
    bodies = [
        ("nulls", record(0, key=None, value=None), 1),
        ("headers", record(0, header_count=headers), 1),
        ("a header key that is not UTF-8", record(0, header_count=wire.varint(1), tail=b"\2\xff" + wire.varbytes(b"")), 1),
        ("times that fall", record(0) + record(1, delta_ms=-5000), 2),
        ("no times", record(0, delta_ms=-1 - base) + record(1, delta_ms=-1 - base), 2),
        ("a large value", record(0, value=bytes(900_000)), 1),
        ("many small records", b"".join(record(i, key=None, value=b"") for i in range(20_000)), 20_000),
    ]
    packers = [("plain", 0, bytes), ("gzip", GZIP, gzip.compress), ("snappy", SNAPPY, snappy_java), ("raw snappy", SNAPPY, snappy_raw)]
    topic, end = target.topic("lawful"), 0
    with target.connect() as connection:
        for what, body, count in bodies:
            for name, codec, pack in packers:
                answer = produce(connection, topic, batch(pack(body), count, base_ms=base, codec=codec))
                check_equal(answer[:2], (wire.NONE, end), f"{what}, {name}: {answer}")
                end += count
        check_equal(connection.list_offset(topic, 0, -1)[2], end, "end offset")


CASES = [
    ("records that are not what the header says", refused),
    ("times that the header hides", true_times),
    ("unusual records", lawful),
]
