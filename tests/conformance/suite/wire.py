"""Kafka's wire format by hand, in plain Python: enough to send what no client library would.

Only non-flexible versions are used, because they are the simplest bytes that say the thing.
"""
import socket
import struct
import time

PRODUCE, FETCH, LIST_OFFSETS, METADATA = 0, 1, 2, 3
API_VERSIONS, CREATE_TOPICS, DELETE_TOPICS = 18, 19, 20

NONE, CORRUPT_MESSAGE, UNKNOWN_TOPIC_OR_PARTITION = 0, 2, 3
LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, MESSAGE_TOO_LARGE = 5, 6, 10
INVALID_TIMESTAMP, UNSUPPORTED_VERSION, TOPIC_ALREADY_EXISTS = 32, 35, 36
UNSUPPORTED_FOR_MESSAGE_FORMAT, KAFKA_STORAGE_ERROR, INVALID_RECORD = 43, 56, 87


class Reader:
    """Walks over a response; running past its end is an exception, so a short reply cannot pass for a good one."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        if size < 0 or self.at + size > len(self.data):
            raise ValueError(f"{size} bytes wanted at {self.at} of {len(self.data)}")
        self.at += size
        return self.data[self.at - size:self.at]

    def unpack(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(">" + form)))

    def int8(self):
        return self.unpack("b")[0]

    def int16(self):
        return self.unpack("h")[0]

    def int32(self):
        return self.unpack("i")[0]

    def int64(self):
        return self.unpack("q")[0]

    def string(self):
        size = self.int16()
        return None if size < 0 else self.take(size).decode()

    def nullable_bytes(self):
        size = self.int32()
        return None if size < 0 else self.take(size)

    def array(self, item):
        return [item() for _ in range(max(self.int32(), 0))]

    def varint(self):
        value, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)

    def rest(self):
        return len(self.data) - self.at


def string(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text.encode())) + text.encode()


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def blob(data):
    return struct.pack(">i", len(data)) + data


def request_bytes(api, version, correlation, body, client="raw"):
    """One frame with its length, header v1."""
    return blob(struct.pack(">hhi", api, version, correlation) + string(client) + body)


class Connection:
    """A blocking connection; every request waits for its reply unless `send` is used directly."""

    def __init__(self, address, timeout_s=10):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive_exactly(self, size):
        parts = []
        while size:
            part = self.socket.recv(min(size, 1 << 20))
            if not part:
                raise ConnectionError("closed by the broker")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def receive(self):
        """One response: (correlation id, reader over the body behind a v0 header)."""
        size, = struct.unpack(">i", self.receive_exactly(4))
        reader = Reader(self.receive_exactly(size))
        return reader.int32(), reader

    def request(self, api, version, body):
        self.correlation += 1
        self.send(request_bytes(api, version, self.correlation, body))
        correlation, reader = self.receive()
        if correlation != self.correlation:
            raise ConnectionError(f"reply {correlation} to request {self.correlation}")
        return reader

    # One method per API, each answering in plain Python values.

    def api_versions(self):
        reader = self.request(API_VERSIONS, 0, b"")
        error, = reader.unpack("h")
        if error:
            raise ValueError(f"ApiVersions answered error {error}")
        return {api: (low, high) for api, low, high in reader.array(lambda: reader.unpack("hhh"))}

    def metadata(self, topics=None, create=False):
        """{topic: (error, {partition: leader})}"""
        names = struct.pack(">i", -1) if topics is None else array([string(t) for t in topics])
        reader = self.request(METADATA, 4, names + struct.pack(">?", create))
        reader.int32()
        reader.array(lambda: (reader.int32(), reader.string(), reader.int32(), reader.string()))
        reader.string()
        reader.int32()

        def partition():
            _, index, leader = reader.unpack("hii")
            reader.array(reader.int32)
            reader.array(reader.int32)
            return index, leader

        def topic():
            error, name, _ = reader.int16(), reader.string(), reader.int8()
            return name, (error, dict(reader.array(partition)))
        return dict(reader.array(topic))

    def create_topic(self, topic, partitions=1, configs=None):
        """The error code of CreateTopics v2."""
        settings = array([string(k) + string(v) for k, v in (configs or {}).items()])
        one = string(topic) + struct.pack(">ih", partitions, 1) + array([]) + settings
        reader = self.request(CREATE_TOPICS, 2, array([one]) + struct.pack(">i?", 30_000, False))
        reader.int32()
        return reader.array(lambda: (reader.string(), reader.int16(), reader.string()))[0][1]

    def wait_for_leaders(self, topic, partitions, deadline_s=10):
        """Apache Kafka answers CreateTopics before the new leaders are in place; this waits until they are."""
        deadline = time.monotonic() + deadline_s
        for partition in range(partitions):
            while self.list_offset(topic, partition, -1)[0] != NONE:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{topic}-{partition} has no leader")
                time.sleep(0.02)

    def delete_topic(self, topic):
        reader = self.request(DELETE_TOPICS, 1, array([string(topic)]) + struct.pack(">i", 30_000))
        reader.int32()
        return reader.array(lambda: (reader.string(), reader.int16()))[0][1]

    def produce(self, topic, partition, batch, acks=-1, version=7):
        """(error code, base offset)"""
        reader = self.request(PRODUCE, version, produce_body(topic, partition, batch, acks))
        return parse_produce(reader, version)[0]

    def list_offset(self, topic, partition, timestamp):
        """(error, timestamp, offset)"""
        one = string(topic) + array([struct.pack(">iq", partition, timestamp)])
        reader = self.request(LIST_OFFSETS, 1, struct.pack(">i", -1) + array([one]))
        reader.int32()
        reader.string()
        reader.int32()
        reader.int32()
        return reader.unpack("hqq")

    def fetch(self, topic, partition, offset, bytes_max=8 << 20, wait_ms=100):
        """(error, high watermark, raw record bytes), by Fetch v4."""
        one = string(topic) + array([struct.pack(">iqi", partition, offset, bytes_max)])
        head = struct.pack(">iiiib", -1, wait_ms, 1, bytes_max, 0)
        reader = self.request(FETCH, 4, head + array([one]))
        reader.unpack("ii")
        reader.string()
        reader.unpack("ii")
        error, high_watermark, _ = reader.unpack("hqq")
        reader.array(lambda: reader.unpack("qq"))
        return error, high_watermark, reader.nullable_bytes() or b""

    def read_partition(self, topic, partition, offset=0, patience_s=10):
        """All records up to the high watermark as (offset, key, value). Waits for a partition that still recovers."""
        deadline = time.monotonic() + patience_s
        while True:
            error, high_watermark, data = self.fetch(topic, partition, offset)
            if error in (LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER) and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            if error:
                raise ValueError(f"Fetch of {topic}-{partition} at {offset} answered error {error}")
            records = [r for r in parse_records(data) if r[0] >= offset]
            yield from records
            if records:
                offset = records[-1][0] + 1
            if offset >= high_watermark:
                return
            if not records:
                raise ValueError(f"{topic}-{partition}: no record at {offset}, high watermark {high_watermark}")


def produce_body(topic, partition, batch, acks=-1, timeout_ms=30_000):
    """Produce v3 to v8."""
    one = string(topic) + array([struct.pack(">i", partition) + blob(batch)])
    return string(None) + struct.pack(">hi", acks, timeout_ms) + array([one])


def parse_produce(reader, version):
    def partition():
        _, error, base, _ = reader.unpack("ihqq")
        if version >= 5:
            reader.int64()
        return error, base
    topics = reader.array(lambda: (reader.string(), reader.array(partition)))
    return [reply for _, partitions in topics for reply in partitions]


def varint(value):
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varbytes(data):
    return varint(-1) if data is None else varint(len(data)) + data


def record_bytes(offset_delta, key, value, timestamp_delta=0):
    body = b"\x00" + varint(timestamp_delta) + varint(offset_delta) + varbytes(key) + varbytes(value) + varint(0)
    return varint(len(body)) + body


HEADER_BYTES = 61
CRC_AT, CRC_FROM = 17, 21


def record_batch(records, timestamp=None, magic=2, attributes=0, producer=(-1, -1, -1), count=None, crc=None):
    """A RecordBatch v2 of (key, value) pairs; the odd parameters exist to get them wrong."""
    timestamp = int(time.time() * 1000) if timestamp is None else timestamp
    body = b"".join(record_bytes(i, key, value) for i, (key, value) in enumerate(records))
    after_crc = struct.pack(">hiqqqhii", attributes, len(records) - 1, timestamp, timestamp, *producer,
                            len(records) if count is None else count) + body
    crc = crc32c(after_crc) if crc is None else crc
    head = struct.pack(">qiibI", 0, len(after_crc) + 9, -1, magic, crc)
    return head + after_crc


def parse_batches(data):
    """(base offset, record count, whole batch) of each complete batch, up to the first thing that is none."""
    at = 0
    while at + HEADER_BYTES <= len(data):
        base, size = struct.unpack_from(">qi", data, at)
        batch = data[at:at + 12 + size]
        if size < HEADER_BYTES - 12 or len(batch) < 12 + size:
            return
        yield base, struct.unpack_from(">i", batch, 57)[0], batch
        at += 12 + size


def parse_records(data):
    """(offset, key, value) of each record in uncompressed batches; a bad CRC is an exception."""
    for base, count, batch in parse_batches(data):
        crc, = struct.unpack_from(">I", batch, CRC_AT)
        if crc32c(batch[CRC_FROM:]) != crc:
            raise ValueError(f"batch at offset {base}: its CRC does not hold")
        reader = Reader(batch[HEADER_BYTES:])
        for _ in range(count):
            reader.varint()
            reader.int8()
            reader.varint()
            offset = base + reader.varint()
            key = read_varbytes(reader)
            value = read_varbytes(reader)
            for _ in range(reader.varint()):
                read_varbytes(reader)
                read_varbytes(reader)
            yield offset, key, value


def read_varbytes(reader):
    size = reader.varint()
    return None if size < 0 else reader.take(size)


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = _crc_table()


def crc32c(data, state=0xFFFFFFFF):
    table = CRC_TABLE
    for byte in data:
        state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state ^ 0xFFFFFFFF
