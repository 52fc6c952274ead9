"""What every client family must be able to do. Written once; the drivers only translate.

Each case proves one promise to a user of that client and says which in its docstring.
"""
import re
import time

from . import wire
from .driver import DriverError
from .records import content_samples, numbered, recent_timestamp, sendable
from .report import Skipped, check, check_equal

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
GROUP_TOTAL, GROUP_FIRST, GROUP_SECOND = 120, 50, 30
TIMESTAMP = recent_timestamp()
# Apache Kafka answers DeleteTopics before every cache has heard of it.
VISIBLE_TIMEOUT_S = 5


class Target:
    """Where the cases run: a broker that creates topics by itself, and perhaps one that refuses to."""

    def __init__(self, address, run_id):
        self.address, self.run_id = address, run_id

    def topic(self, *parts):
        return "-".join(["c", self.run_id, *parts])

    def create(self, topic, partitions=1, configs=None):
        with wire.Connection(self.address) as connection:
            check_equal(connection.create_topic(topic, partitions, configs), wire.NONE, f"CreateTopics {topic}")
            connection.wait_for_leaders(topic, partitions)


def content_topic(target, family, codec):
    return target.topic("content", family, codec)


def produce(driver, topic, samples, partition=0, codec="none", **options):
    command = [s.command() for s in samples]
    reply = driver.call("produce", topic=topic, partition=partition, codec=codec, records=command, **options)
    return reply["offsets"]


def check_records(replies, samples, cannot, first_offset=0):
    check_equal(len(replies), len(samples), "records read")
    for index, (reply, sample) in enumerate(zip(replies, samples)):
        check_equal(reply["o"], first_offset + index, "offset")
        difference = sample.difference(reply, cannot)
        check(difference is None, f"record {index} ({sample.key!r}): {difference}")


def content(target, driver, codec):
    """Keys, values, headers, timestamps, nulls, empties, large ones: read back as sent, in order."""
    if f"codec:{codec}" in driver.cannot:
        raise Skipped(f"{driver.client} has no {codec}")
    topic = content_topic(target, driver.family, codec)
    target.create(topic)
    samples = sendable(content_samples(codec, TIMESTAMP), driver.cannot)
    offsets = produce(driver, topic, samples, codec=codec)
    if offsets is not None:
        check_equal(offsets, list(range(len(samples))), "acknowledged offsets")
    read_content(target, driver, driver, codec)


def read_content(target, reader, writer, codec):
    """One family reads what another wrote."""
    if f"codec:{codec}" in writer.cannot | reader.cannot:
        raise Skipped(f"no {codec}")
    samples = sendable(content_samples(codec, TIMESTAMP), writer.cannot)
    topic = content_topic(target, writer.family, codec)
    replies = reader.call("consume", topic=topic, partition=0, offset=0, count=len(samples))["records"]
    check_records(replies, samples, reader.cannot)


def stored_codec(target, driver, codec):
    """The batches are stored as the client compressed them: nothing was recompressed or left plain."""
    topic = content_topic(target, driver.family, codec)
    with wire.Connection(target.address) as connection:
        _, _, data = connection.fetch(topic, 0, 0)
    attributes = {batch[22] & 7 for _, _, batch in wire.parse_batches(data)}
    check(CODECS.index(codec) in attributes, f"codecs on disk {attributes}, expected {codec}")
    check(attributes <= {0, CODECS.index(codec)}, f"codecs on disk {attributes}, expected {codec}")


def middle_offset(target, driver):
    """A consumer can start in the middle of a batch and gets that record first."""
    topic = content_topic(target, driver.family, "none")
    replies = driver.call("consume", topic=topic, partition=0, offset=20, count=5)["records"]
    check_equal([r["o"] for r in replies][:5], [20, 21, 22, 23, 24], "offsets")


def keyed_partitions(target, driver):
    """Keyed records spread over partitions; each key stays in one, in order."""
    topic = target.topic("keyed", driver.family)
    target.create(topic, partitions=4)
    produce(driver, topic, numbered(300), partition=-1)
    found = []
    with wire.Connection(target.address) as connection:
        ends = [connection.list_offset(topic, p, -1)[2] for p in range(4)]
    for partition, count in enumerate(ends):
        if count:
            replies = driver.call("consume", topic=topic, partition=partition, offset=0, count=count)["records"]
            check_equal([r["o"] for r in replies], list(range(count)), f"offsets of partition {partition}")
            found.append([(r["k"], r["v"]) for r in replies])
    sent = [(c["k"], c["v"]) for c in (s.command() for s in numbered(300))]
    for keys in ({k for k, _ in part} for part in found):
        others = sum(keys <= {k for k, _ in part} for part in found)
        check_equal(others, 1, "partitions of a key")
    for part in found:
        keys = {k for k, _ in part}
        check_equal(part, [pair for pair in sent if pair[0] in keys], "records of a partition")


def group_commits(target, driver):
    """A group member commits what it read; the next member goes on right behind that."""
    topic, group = target.topic("group", driver.family), target.topic("g", driver.family)
    target.create(topic)
    produce(driver, topic, numbered(GROUP_TOTAL))
    read_group(driver, topic, group, 0, GROUP_FIRST)
    read_group(driver, topic, group, GROUP_FIRST, GROUP_SECOND)


def group_resumes(target, driver):
    """A group's position survives a restart of the broker, and so do the records behind it."""
    topic, group = target.topic("group", driver.family), target.topic("g", driver.family)
    first = GROUP_FIRST + GROUP_SECOND
    read_group(driver, topic, group, first, GROUP_TOTAL - first)


def read_group(driver, topic, group, first, count):
    replies = driver.call("group", group=group, topic=topic, count=count)["records"]
    check_equal([r["o"] for r in replies][:count], list(range(first, first + count)), "offsets read by the group")


def idempotent(target, driver):
    """An idempotent producer works, and its batches carry a producer id with dense sequences."""
    if "idempotent" in driver.cannot:
        raise Skipped("no idempotent producer")
    topic = target.topic("idempotent", driver.family)
    target.create(topic)
    produce(driver, topic, numbered(400), idempotent=True)
    with wire.Connection(target.address) as connection:
        _, _, data = connection.fetch(topic, 0, 0)
        check_equal([int(v) for _, _, v in wire.parse_records(data)], list(range(400)), "values")
    sequence = 0
    for _, count, batch in wire.parse_batches(data):
        reader = wire.Reader(batch[43:57])
        producer_id, epoch, base_sequence = reader.unpack("qhi")
        check(producer_id >= 0 and epoch >= 0, f"producer id {producer_id} epoch {epoch}")
        check_equal(base_sequence, sequence, "base sequence")
        sequence += count


def auto_creation(target, driver):
    """Producing to a topic that does not exist creates it with num.partitions partitions."""
    topic = target.topic("auto", driver.family)
    produce(driver, topic, numbered(3), partition=-1)
    with wire.Connection(target.address) as connection:
        partitions = connection.metadata([topic])[topic][1]
        ends = [connection.list_offset(topic, p, -1)[2] for p in partitions]
    check_equal(len(partitions), 4, "partitions (num.partitions=4)")
    check_equal(sum(ends), 3, "records")


def offsets(target, driver):
    """Earliest, latest and by time."""
    topic = target.topic("offsets", driver.family)
    target.create(topic)
    with wire.Connection(target.address) as connection:
        for i in range(5):
            batch = wire.record_batch([(b"k", b"v")], timestamp=TIMESTAMP + 1000 * i)
            check_equal(connection.produce(topic, 0, batch), (wire.NONE, i), "produce")
    expected = {-2: 0, -1: 5, TIMESTAMP + 2000: 2, TIMESTAMP + 2001: 3}
    for at, offset in expected.items():
        check_equal(driver.call("offset", topic=topic, partition=0, at=at)["offset"], offset, f"offset at {at}")


def admin(target, driver):
    """Create with configs, describe, alter, grow, list, delete; a deleted topic is gone."""
    topic = target.topic("admin", driver.family)
    if "create" in driver.cannot:
        target.create(topic, 2)
    else:
        driver.call("create", topic=topic, partitions=2, configs={"retention.ms": "1234567"})
        check_refused(driver, "exist", "create", topic=topic, partitions=2, configs={})
        check_refused(driver, "config", "create", topic=topic + "-bad", partitions=1,
                      configs={"retention.ms": "not a number"})
    check_equal(driver.call("partitions", topic=topic)["partitions"], 2, "partitions")
    check(topic in driver.call("topics")["topics"], f"{topic} is not listed")
    if "configs" not in driver.cannot:
        check_equal(driver.call("config", topic=topic, name="retention.ms")["value"], "1234567", "retention.ms")
        check_equal(driver.call("config", topic=topic, name="cleanup.policy")["value"], "delete", "cleanup.policy")
    if "alter" not in driver.cannot:
        driver.call("alter", topic=topic, name="retention.ms", value="7654321")
        check_equal(driver.call("config", topic=topic, name="retention.ms")["value"], "7654321", "altered value")
    if "add-partitions" not in driver.cannot:
        driver.call("add-partitions", topic=topic, total=5)
        check_equal(driver.call("partitions", topic=topic)["partitions"], 5, "partitions after growing")
    if "delete" not in driver.cannot:
        driver.call("delete", topic=topic)
        deadline = time.monotonic() + VISIBLE_TIMEOUT_S
        while topic in driver.call("topics")["topics"]:
            check(time.monotonic() < deadline, f"{topic} is still listed")


def too_large(target, driver):
    """A record above max.message.bytes is refused by name, and the producer's topic stays usable."""
    topic = target.topic("large", driver.family)
    target.create(topic, configs={"max.message.bytes": "20000"})
    large = numbered(1)
    large[0].value = b"x" * 50_000
    check_refused(driver, "large|size", "produce", topic=topic, partition=0, codec="none",
                  records=[s.command() for s in large], request_bytes_max=4_000_000)
    produce(driver, topic, numbered(2))


def unknown_topic(strict, driver):
    """With auto creation off, an unknown topic is an error and is not created."""
    topic = strict.topic("nowhere", driver.family)
    arguments = {"topic": topic, "partition": 0, "codec": "none", "timeout_s": 4,
                 "records": [numbered(1)[0].command()]}
    check_refused(driver, "unknown|not present|timed? ?out|does not (host|exist)", "produce", **arguments)
    with wire.Connection(strict.address) as connection:
        check(topic not in connection.metadata(), f"{topic} was created")


def check_refused(driver, pattern, operation, **arguments):
    try:
        driver.call(operation, **arguments)
    except DriverError as error:
        check(re.search(pattern, str(error), re.IGNORECASE), f"expected /{pattern}/: {error}")
        return
    check(False, f"`{operation}` was not refused, expected /{pattern}/")


# In order; (name, function). `content` comes first because others read what it wrote.
EACH_CODEC = [("content", content), ("stored codec", stored_codec)]
ONCE = [
    ("middle of a batch", middle_offset), ("keys to partitions", keyed_partitions),
    ("group commits", group_commits), ("idempotent", idempotent), ("auto topic creation", auto_creation),
    ("offsets by time", offsets), ("admin", admin), ("too large record", too_large),
]
