"""The rows of the comparison: what is run against each subject, and which figures are kept.

A row is measured `repeats` times per subject on topics of its own; the table shows medians.
"""

import contextlib
import os
import pathlib
import statistics
import time


class Bench:
    """Where rows are run and results are gathered."""

    def __init__(self, tools, options, record):
        self.tools = tools
        self.options = options
        self.record = record
        self.seconds = 2 if options.quick else options.seconds
        self.warmup = 1 if options.quick else 2
        self.repeats = 1 if options.quick else options.repeats
        self.serial = 0

    def wants(self, row):
        return not self.options.only or row in self.options.only

    def topic(self, subject, partitions):
        """A fresh topic."""
        self.serial += 1
        name = f"bench-{subject.key}-{self.serial}"
        arguments = ["create-topic", "--bootstrap", subject.broker.bootstrap, "--topic", name,
                     "--partitions", partitions]
        for pair in subject.topic_configs:
            arguments += ["--config", pair]
        self.tools.loadgen_text(arguments)
        return name

    def drop(self, subject, name):
        if subject.key != "null":
            self.tools.loadgen_text(["delete-topic", "--bootstrap", subject.broker.bootstrap, "--topic", name])

    def timing(self):
        return ["--duration", self.seconds, "--warmup", self.warmup]

    def run_load_rows(self, subjects):
        """All rows that put load on a running broker, subject by subject so that they share its warm state."""
        for key, title, function, keys in LOAD_ROWS:
            for subject in subjects:
                if not self.wants(key) or subject.key not in keys:
                    continue
                for repeat in range(self.repeats):
                    figures = function(self, subject, repeat)
                    self.record(key, title, subject.key, repeat, figures)


def produce_64k(bench, subject, repeat):
    """acks=all, 1 KB records in 64 KiB batches over 6 partitions; what was acknowledged is read back and judged."""
    topic = bench.topic(subject, 6)
    report = bench.tools.loadgen("produce", subject.broker, [
        "--topic", topic, "--record-size", 1000, "--batch-bytes", "64k", "--connections", 6, "--in-flight", 5,
        *bench.timing()])
    if repeat == 0 and subject.key != "null":
        judged = bench.tools.loadgen("consume", subject.broker, [
            "--topic", topic, "--expect-records", report["acked_in_all"], "--in-flight", 6])
        report["verified_records"] = judged["records"]
        if "failed" in judged:
            report["failed"] = judged["failed"]
    bench.drop(subject, topic)
    return report


def single(in_flight):
    """One 1 KB record per request."""
    def run(bench, subject, _repeat):
        topic = bench.topic(subject, 6)
        report = bench.tools.loadgen("produce", subject.broker, [
            "--topic", topic, "--record-size", 1000, "--batch-records", 1, "--in-flight", in_flight,
            *bench.timing()])
        bench.drop(subject, topic)
        return report
    return run


def end_to_end(rate):
    """Open loop, one record per request as linger 0 sends them; latency from the intended send to the arrival."""
    def run(bench, subject, repeat):
        topic = bench.topic(subject, 6)
        hdr = bench.tools.results / f"e2e-{rate}-{subject.key}-{repeat}.hgrm"
        report = bench.tools.loadgen("e2e", subject.broker, [
            "--topic", topic, "--record-size", 1000, "--rate", rate, "--hdr", hdr, "--warmup", bench.warmup,
            "--duration", 2 * bench.seconds])
        bench.drop(subject, topic)
        return report
    return run


def keyed(bench, subject, _repeat):
    """100 producers send keyed batches of about 200 bytes to 1,000 partitions, 10 batches per request."""
    topic = bench.topic(subject, 1000)
    load = ["--topic", topic, "--record-size", 120, "--batch-records", 1, "--keys", "random:100000",
            "--partitions-per-request", 10, "--connections", 100, "--in-flight", 2]
    # The first write to a partition creates its files; that is not what this row is about.
    bench.tools.loadgen("produce", subject.broker, [*load, "--records", 20_000])
    report = bench.tools.loadgen("produce", subject.broker, [*load, *bench.timing()])
    bench.drop(subject, topic)
    return report


def fetch(bench, subject, _repeat):
    """1 KB records read again and again from a topic of 1 GB that was just written."""
    records = 200_000 if bench.options.quick else 1_000_000
    topic = bench.topic(subject, 6)
    if subject.key != "null":
        bench.tools.loadgen("produce", subject.broker, ["--topic", topic, "--records", records, "--connections", 6])
        bench.tools.loadgen("consume", subject.broker, ["--topic", topic, "--expect-records", records // 64 * 64])
    report = bench.tools.loadgen("consume", subject.broker, [
        "--topic", topic, "--no-verify", "--connections", 2, "--in-flight", 2,
        *(["--repeat"] if subject.key != "null" else []), *bench.timing()])
    bench.drop(subject, topic)
    return report


def disturbed(disturb):
    """End to end at 1,000/s, first alone, then while `disturb` goes on beside it: `p99_ratio` is what that costs."""
    def run(bench, subject, _repeat):
        beside = bench.topic(subject, 6)
        bench.tools.loadgen("produce", subject.broker, [
            "--topic", beside, "--connections", 6, "--records", 500_000 if bench.options.quick else 2_000_000])
        topic = bench.topic(subject, 6)
        load = ["--topic", topic, "--record-size", 1000, "--rate", 1000, *bench.timing()]
        calm = bench.tools.loadgen("e2e", subject.broker, load)
        with disturb(bench, subject, beside):
            report = bench.tools.loadgen("e2e", subject.broker, load)
        bench.drop(subject, topic)
        calm_p99, p99 = (each["end_to_end_latency_us"]["p99"] for each in (calm, report))
        return dict(report, calm_p99_us=calm_p99, p99_ratio=p99 / calm_p99)
    return run


@contextlib.contextmanager
def cold_reader(bench, subject, topic):
    """Another consumer reads 100 MB/s that no memory holds: far behind the tail, read once, page cache dropped."""
    drop_page_cache()
    seconds = bench.seconds + bench.warmup + 2
    reader = bench.tools.loadgen_beside("consume", subject.broker, [
        "--topic", topic, "--no-verify", "--rate", COLD_READ_RATE, "--duration", seconds])
    try:
        yield
    finally:
        if reader.wait() != 0:
            raise SystemExit("the cold reader failed")
        bench.drop(subject, topic)


@contextlib.contextmanager
def deletion(bench, subject, topic):
    """A topic of 2 GB is deleted; its files go after log.segment.delete.delay.ms, one second here."""
    bench.drop(subject, topic)
    yield


def drop_page_cache():
    """What was written or read before is on the disk alone. Needs root; an error says so."""
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("1")


def cross_check(bench, subject):
    """The same load by Kafka's own producer tool and by loadgen: the generator's latencies must not be its own making."""
    broker = subject.broker
    topic = bench.topic(subject, 6)
    for repeat in range(bench.repeats):
        theirs = broker.producer_perf(topic, CROSS_CHECK_RATE, int(CROSS_CHECK_RATE * 2 * bench.seconds))
        ours = bench.tools.loadgen("produce", broker, [
            "--topic", topic, "--rate", CROSS_CHECK_RATE, "--warmup", bench.warmup, "--duration", 2 * bench.seconds])
        for key, figures in (("perf-tool", theirs), ("loadgen", ours["produce_latency_us"])):
            bench.record("crosscheck", f"produce at {CROSS_CHECK_RATE:,}/s by {key}", key, repeat, figures)
    bench.drop(subject, topic)


def start_up(bench, subject):
    """From exec on an empty directory to the first Metadata answer; then what the idle process uses."""
    broker = subject.broker
    for repeat in range(bench.repeats):
        broker.clear()
        elapsed_ms = broker.start()
        if bench.wants("startup"):
            bench.record("startup", "start on an empty directory", subject.key, repeat, {"elapsed_ms": elapsed_ms})
        if bench.wants("idle"):
            bench.record("idle", "idle", subject.key, repeat, idle(bench, broker))
        broker.stop()


def idle(bench, broker):
    """CPU share and resident memory without traffic, some seconds after the start."""
    time.sleep(2 if bench.options.quick else 5)
    before = cpu_seconds(broker.pid)
    seconds = 3 if bench.options.quick else 10
    time.sleep(seconds)
    used = cpu_seconds(broker.pid) - before
    return {"cpu_percent": 100 * used / seconds, "resident_bytes": resident_bytes(broker.pid)}


def restart(bench, subject):
    """From exec after kill -9 with gigabytes of log to a leader for every partition."""
    gigabytes = 1 if bench.options.quick else bench.options.restart_gb
    broker = subject.broker
    for repeat in range(bench.repeats):
        broker.clear()
        broker.start()
        topic = bench.topic(subject, 6)
        # The newest data is under way while the process dies.
        bench.tools.loadgen("produce", broker, [
            "--topic", topic, "--connections", 6, "--records", gigabytes * 1_000_000])
        broker.kill()
        elapsed_ms = broker.start(topic)
        judged = bench.tools.loadgen("consume", broker, ["--topic", topic, "--in-flight", 6])
        figures = {"elapsed_ms": elapsed_ms, "gigabytes": gigabytes, "verified_records": judged["records"]}
        if "failed" in judged:
            figures["failed"] = judged["failed"]
        bench.record("restart", f"restart after kill -9 with {gigabytes} GB", subject.key, repeat, figures)
        broker.stop()


def many_partitions(bench, subject, count=10_000):
    """Creating many partitions, their memory, and a clean restart with them."""
    broker = subject.broker
    broker.clear()
    broker.start()
    time.sleep(3)
    before = resident_bytes(broker.pid)
    start = time.monotonic()
    topics = [bench.topic(subject, count // 10) for _ in range(10)]
    create_ms = (time.monotonic() - start) * 1e3
    time.sleep(3)
    grown = resident_bytes(broker.pid) - before
    broker.stop()
    restart_ms = broker.start(topics[-1])
    bench.record("partitions", f"{count:,} partitions", subject.key, 0, {
        "create_ms": create_ms, "bytes_per_partition": grown / count, "elapsed_ms": restart_ms})
    broker.stop()


def appender(bench):
    """The device: single small writes, and blocks as large as a commit group."""
    for block_bytes, files in ((4096, 1), (65536, 1), (65536, 6), (1048576, 2)):
        for repeat in range(bench.repeats):
            figures = bench.tools.appender(block_bytes, files, bench.seconds)
            bench.record(f"appender-{block_bytes}-{files}", "bare O_DIRECT|O_DSYNC appender", "device", repeat, figures)


def warm_up(bench, subject):
    """A cold JVM is several times slower: every path is exercised before anything is timed."""
    seconds = 4 if bench.options.quick else 15
    topic = bench.topic(subject, 6)
    run = bench.tools.loadgen
    run("produce", subject.broker, ["--topic", topic, "--connections", 6, "--duration", seconds])
    run("produce", subject.broker, ["--topic", topic, "--batch-records", 1, "--in-flight", 16, "--duration", seconds])
    run("consume", subject.broker, ["--topic", topic, "--repeat", "--no-verify", "--duration", seconds / 2])
    run("e2e", subject.broker, ["--topic", topic, "--rate", 5000, "--duration", seconds])
    bench.drop(subject, topic)


def median(values):
    return statistics.median(values) if values else None


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


CROSS_CHECK_RATE = 1000
COLD_READ_RATE = 100_000
BROKERS = {"kafka", "kafka-fsync", "millrace"}
LOAD_ROWS = [
    ("produce", "acks=all, 1 KB records, 64 KiB batches, 6 partitions", produce_64k, BROKERS | {"null"}),
    ("single16", "one record per request, 16 in flight", single(16), BROKERS | {"null"}),
    ("single1", "one record per request, 1 in flight", single(1), BROKERS | {"null"}),
    ("e2e1000", "end to end at 1,000/s", end_to_end(1000), BROKERS),
    ("e2e10000", "end to end at 10,000/s", end_to_end(10000), BROKERS),
    ("keyed", "200-byte keyed batches, 1,000 partitions, 100 producers", keyed, BROKERS),
    ("fetch", "fetch of hot data", fetch, {"kafka", "millrace", "null"}),
    ("cold", "end to end at 1,000/s beside a cold reader", disturbed(cold_reader), {"kafka", "millrace"}),
    ("delete", "end to end at 1,000/s beside a deletion", disturbed(deletion), {"kafka", "millrace"}),
]
# Rows that run on a warm broker, and all rows.
LOAD_KEYS = [key for key, *_ in LOAD_ROWS] + ["crosscheck"]
ROW_KEYS = LOAD_KEYS + ["startup", "idle", "restart", "partitions", "appender"]
