"""Kafka's own command-line tools: produce and consume, the perf tools, topics, configs, log dirs, offsets, groups."""
import pathlib
import re

from .driver import Driver
from .families import CACHE, tool_command
from .report import check, check_equal

TOOLS = "org.apache.kafka.tools."
TOPIC_COMMAND, CONFIG_COMMAND = TOOLS + "TopicCommand", "kafka.admin.ConfigCommand"
PERF_RECORDS = 20_000
DUMP_FILES_MAX = 400
# What kafka-dump-log says about a file it does not like. It exits with 0 all the same.
COMPLAINT = re.compile(
    r"mismatch|out of order|non-?consecutive|isvalid: false|corrupt|incomplete|invalid|exception|error|fail|"
    r"could not|not found|unable", re.IGNORECASE)
# Parts of ordinary lines that only look like one.
ORDINARY = re.compile(r"isvalid: true|passed sanity check|keySize: .*|headerKeys: \[[^]]*\]|key: .*")


class Tools:
    """The tools against one broker, all in one JVM."""

    def __init__(self, address, run_id):
        self.address, self.run_id = address, run_id
        self.driver = Driver("java-tools", tool_command(), address, CACHE / "java-tools.log")

    def close(self):
        self.driver.close()

    def topic(self, name):
        return f"t-{self.run_id}-{name}"

    def run(self, tool, *arguments, text="", status=0):
        reply = self.driver.call("tool", **{"class": tool, "arguments": [str(a) for a in arguments], "input": text})
        if status is not None:
            check_equal(reply["status"], status, f"status of {tool.rsplit('.', 1)[1]}: {reply['output'][-2000:]}")
        return reply["output"]

    def client(self, tool, *arguments, **options):
        return self.run(tool, "--bootstrap-server", self.address, *arguments, **options)

    def topics(self):
        """kafka-topics: create, list, describe, alter, delete."""
        topic = self.topic("topics")
        create = ["--create", "--topic", topic, "--partitions", 3, "--replication-factor", 1]
        self.client(TOPIC_COMMAND, *create, "--config", "retention.ms=3600000")
        refused = self.client(TOPIC_COMMAND, *create, status=1)
        check("already exists" in refused, refused)
        check(topic in self.client(TOPIC_COMMAND, "--list").split(), "not listed")
        described = self.client(TOPIC_COMMAND, "--describe", "--topic", topic)
        check("PartitionCount: 3" in described and "retention.ms=3600000" in described, described)
        check_equal(len(re.findall(r"Partition: \d+\s+Leader: \d+\s+Replicas: \d+\s+Isr: \d+", described)), 3, described)
        self.client(TOPIC_COMMAND, "--alter", "--topic", topic, "--partitions", 6)
        check("PartitionCount: 6" in self.client(TOPIC_COMMAND, "--describe", "--topic", topic), "not grown")
        self.client(TOPIC_COMMAND, "--delete", "--topic", topic)
        check(topic not in self.client(TOPIC_COMMAND, "--list").split(), "still listed")

    def configs(self):
        """kafka-configs: describe with synonyms, alter and take back; a bad value is refused with its reason."""
        topic = self.topic("configs")
        self.client(TOPIC_COMMAND, "--create", "--topic", topic, "--partitions", 1, "--replication-factor", 1)
        where = ["--entity-type", "topics", "--entity-name", topic]
        self.client(CONFIG_COMMAND, "--alter", *where, "--add-config", "max.message.bytes=65536,segment.bytes=2097152")
        described = self.client(CONFIG_COMMAND, "--describe", *where)
        check("max.message.bytes=65536" in described and "segment.bytes=2097152" in described, described)
        everything = self.client(CONFIG_COMMAND, "--describe", "--all", *where)
        for key in ("cleanup.policy=delete", "min.insync.replicas=", "compression.type=", "retention.bytes="):
            check(key in everything, f"{key} is missing in: {everything}")
        refused = self.client(CONFIG_COMMAND, "--alter", *where, "--add-config", "retention.ms=soon", status=1)
        check("retention.ms" in refused and "soon" in refused, refused)
        self.client(CONFIG_COMMAND, "--alter", *where, "--delete-config", "max.message.bytes")
        check("max.message.bytes=65536" not in self.client(CONFIG_COMMAND, "--describe", *where), "not taken back")
        broker = self.client(CONFIG_COMMAND, "--describe", "--all", "--entity-type", "brokers", "--entity-name", "1")
        for key in ("auto.create.topics.enable=", "num.partitions=", "log.retention"):
            check(key in broker, f"{key} is missing in the broker's configs")

    def console(self, codec):
        """kafka-console-producer and -consumer with keys and headers, one codec a time."""
        topic = self.topic(f"console-{codec}")
        lines = [f"h1:{i},h2:two\tkey-{i % 5}\tvalue {i} grüße" for i in range(500)]
        self.client(TOOLS + "ConsoleProducer", "--topic", topic, "--compression-codec", codec, "--reader-property",
                    "parse.key=true", "--reader-property", "parse.headers=true", text="\n".join(lines) + "\n")
        read = self.client(TOOLS + "consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages",
                           len(lines), "--timeout-ms", 15000, "--formatter-property", "print.key=true",
                           "--formatter-property", "print.headers=true")
        found = [line for line in read.splitlines() if line.startswith("h1:")]
        check_equal(sorted(found), sorted(lines), "lines read")

    def consumer_group(self):
        """A console consumer in a group goes on behind what the first one read; kafka-consumer-groups sees it if it can."""
        topic, group = self.topic("group"), self.topic("g")
        self.client(TOPIC_COMMAND, "--create", "--topic", topic, "--partitions", 1, "--replication-factor", 1)
        self.client(TOOLS + "ConsoleProducer", "--topic", topic, text="".join(f"line {i}\n" for i in range(100)))
        first, second = (
            self.client(TOOLS + "consumer.ConsoleConsumer", "--topic", topic, "--group", group, "--from-beginning",
                        "--max-messages", count, "--timeout-ms", 15000) for count in (40, 60))
        lines = [line for line in (first + second).splitlines() if line.startswith("line ")]
        check_equal(lines, [f"line {i}" for i in range(100)], "lines read by the group")

    def performance(self):
        """kafka-producer-perf-test and kafka-consumer-perf-test: every record is counted on both sides."""
        topic = self.topic("perf")
        self.client(TOPIC_COMMAND, "--create", "--topic", topic, "--partitions", 6, "--replication-factor", 1)
        written = self.run(TOOLS + "ProducerPerformance", "--topic", topic, "--num-records", PERF_RECORDS,
                           "--record-size", 1000, "--throughput", -1, "--producer-props",
                           f"bootstrap.servers={self.address}", "acks=all")
        check(f"{PERF_RECORDS} records sent" in written, written[-500:])
        read = self.client(TOOLS + "ConsumerPerformance", "--topic", topic, "--messages", PERF_RECORDS, "--timeout", 15000)
        columns = read.strip().splitlines()[-1].split(",")
        check_equal(int(columns[4]), PERF_RECORDS, "records consumed")
        return written.strip().splitlines()[-1][:90]

    def offsets(self):
        """kafka-get-offsets: latest adds up to what the perf tool wrote, earliest is 0."""
        topic = self.topic("perf")
        for at, expected in ((-1, PERF_RECORDS), (-2, 0)):
            lines = self.client(TOOLS + "GetOffsetShell", "--topic", topic, "--time", at).split()
            found = [int(line.rsplit(":", 1)[1]) for line in lines if line.startswith(topic)]
            check_equal((len(found), sum(found)), (6, expected), f"offsets at {at}")

    def log_dirs(self):
        """kafka-log-dirs: sizes of every partition, at least what was written."""
        topic = self.topic("perf")
        output = self.client(TOOLS + "LogDirsCommand", "--describe", "--topic-list", topic)
        check(f'"partition":"{topic}-5"' in output, output[-1000:])
        sizes = [int(size) for size in re.findall(r'"size":(\d+)', output)]
        check(sum(sizes) >= PERF_RECORDS * 1000, f"sizes {sizes}")

    def api_versions(self):
        """kafka-broker-api-versions understands every range that is advertised."""
        output = self.client(TOOLS + "BrokerApiVersionsCommand")
        check("Produce(0): 0 to 13" in output or "Produce(0): 3 to 13" in output, output[:500])

    def cases(self):
        yield "topics", self.topics
        yield "configs", self.configs
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            yield f"console {codec}", lambda codec=codec: self.console(codec)
        yield "console group", self.consumer_group
        yield "perf tools", self.performance
        yield "get-offsets", self.offsets
        yield "log-dirs", self.log_dirs
        yield "api versions", self.api_versions


def dump_log(tools, data_dir):
    """kafka-dump-log over every file of a stopped broker's data directory: not one complaint."""
    # What waits for its deletion is nobody's data any more, so it need not be in order.
    files = [p for p in pathlib.Path(data_dir).glob("*-*/*") if not p.parent.name.endswith("-delete")]
    logs = [p for p in files if p.suffix == ".log" and not p.parent.name.startswith("__cluster_metadata")]
    indexes = [p for p in files if p.suffix in (".index", ".timeindex")]
    # kafkajs writes the timestamp of its last record as the largest of the batch. Apache Kafka reads every record and
    # mends that; Millrace reads headers only, so its time index says what the client said.
    groups = {
        "logs": ([p for p in logs if not is_offsets(p)], ["--deep-iteration"]),
        "offsets": ([p for p in logs if is_offsets(p)], ["--offsets-decoder"]),
        "index sanity": (indexes, ["--index-sanity-check"]),
        "index content": ([p for p in indexes if "-kafkajs-" not in str(p)], ["--verify-index-only"]),
        "producer snapshots": ([p for p in files if p.suffix == ".snapshot"], []),
    }
    check(groups["logs"][0], f"no log in {data_dir}")
    check(groups["offsets"][0], f"no offsets log in {data_dir}")
    counts, complaints = [], []
    for what, (files, flags) in groups.items():
        files = sorted(str(p) for p in files)
        for start in range(0, len(files), DUMP_FILES_MAX):
            part = files[start:start + DUMP_FILES_MAX]
            output = tools.run(TOOLS + "DumpLogSegments", *flags, "--files", ",".join(part), status=None)
            check_equal(output.count("Dumping "), len(part), f"files dumped of {what}: {output[-1500:]}")
            complaints += complaints_in(output)
        counts.append(f"{len(files)} {what}")
    check(not complaints, f"{len(complaints)} complaints, first: {complaints[:3]}")
    return ", ".join(counts)


def is_offsets(path):
    return path.parent.name.startswith("__consumer_offsets-")


def complaints_in(output):
    """A complaint stands below the name of its file."""
    found, name = [], "?"
    for line in output.splitlines():
        if line.startswith("Dumping "):
            name = "/".join(line.split()[1].split("/")[-2:])
        elif COMPLAINT.search(ORDINARY.sub("", line)):
            found.append(f"{name}: {line.strip()[:100]} … {line.strip()[-60:]}")
    return found
