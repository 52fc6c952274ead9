"""Turns results.jsonl into results.md and latency.svg. Run on its own: render.py DIRECTORY."""

import json
import pathlib
import statistics
import sys

import svg

# Row, figure as titled in the table, path into the entry, unit, whether more is better, targets.
# A target is (text, subject compared with, factor): ours must be at least (or at most) factor times theirs.
FIGURES = [
    ("produce", "produce, 64 KiB batches, acks=all", "mb_per_s", "MB/s", True,
     [("≥ 5x Kafka, fsync", "kafka-fsync", 5), ("≥ 1x Kafka, no fsync", "kafka", 1)]),
    ("produce", "… p99", "produce_latency_us.p99", "µs", False, [("≤ 1x Kafka, no fsync", "kafka", 1)]),
    ("produce", "… broker CPU per GB", "broker.cpu_s_per_gb", "s", False, [("≤ 1/3 Kafka, no fsync", "kafka", 1 / 3)]),
    ("produce", "… bytes written per byte acknowledged", "written_share", "", False, []),
    ("single16", "one record per request, 16 in flight", "requests_per_s", "/s", True,
     [("≥ 2x Kafka, no fsync", "kafka", 2), ("≥ 10x Kafka, fsync", "kafka-fsync", 10)]),
    ("single16", "… p99", "produce_latency_us.p99", "µs", False, []),
    ("single16", "… broker CPU per request", "broker.cpu_us_per_request", "µs", False,
     [("≤ 1/4 Kafka, no fsync", "kafka", 1 / 4)]),
    ("single1", "one record per request, 1 in flight", "requests_per_s", "/s", True, []),
    ("e2e1000", "end to end at 1,000/s, p50", "end_to_end_latency_us.p50", "µs", False, []),
    ("e2e1000", "… p99", "end_to_end_latency_us.p99", "µs", False, [("≤ 1/2 Kafka, no fsync", "kafka", 1 / 2)]),
    ("e2e1000", "… p99.9", "end_to_end_latency_us.p99.9", "µs", False, [("≤ 1x Kafka, no fsync", "kafka", 1)]),
    ("e2e10000", "end to end at 10,000/s, p50", "end_to_end_latency_us.p50", "µs", False, []),
    ("e2e10000", "… p99", "end_to_end_latency_us.p99", "µs", False, [("≤ 1/2 Kafka, no fsync", "kafka", 1 / 2)]),
    ("e2e10000", "… p99.9", "end_to_end_latency_us.p99.9", "µs", False, [("≤ 1x Kafka, no fsync", "kafka", 1)]),
    ("e2e10000", "… achieved rate", "records_per_s", "/s", True, []),
    ("keyed", "200-byte keyed batches, 1,000 partitions, 100 producers", "records_per_s", "/s", True,
     [("≥ 2x Kafka, no fsync", "kafka", 2)]),
    ("keyed", "… p99", "produce_latency_us.p99", "µs", False, []),
    ("fetch", "fetch of hot data", "mb_per_s", "MB/s", True, [("≥ 1x Kafka", "kafka", 1)]),
    ("fetch", "… broker CPU per GB", "broker.cpu_s_per_gb", "s", False, [("≤ 1x Kafka", "kafka", 1)]),
    ("cold", "end to end at 1,000/s beside a cold reader of 100 MB/s, p99", "end_to_end_latency_us.p99", "µs", False, []),
    ("cold", "… of its p99 alone, right before", "p99_ratio", "x", False, [("≤ 1.5x", None, 1.5)]),
    ("cold", "… read from the disk meanwhile", "read_mb", "MB", False, []),
    ("delete", "end to end at 1,000/s while a 2 GB topic is deleted, p99", "end_to_end_latency_us.p99", "µs", False, []),
    ("delete", "… of its p99 alone, right before", "p99_ratio", "x", False, [("≤ 1.5x", None, 1.5)]),
    ("startup", "start on an empty directory to the first Metadata answer", "elapsed_ms", "ms", False,
     [("≤ 100 ms", None, 100)]),
    ("restart", "kill -9 with {gigabytes} GB of log to leaders for all", "elapsed_ms", "ms", False,
     [("≤ 700 ms", None, 700)]),
    ("idle", "idle: share of a core", "cpu_percent", "%", False, [("< 1 %", None, 1)]),
    ("idle", "idle: resident memory", "resident_mb", "MB", False, [("< 40 MB", None, 40)]),
    ("partitions", "10,000 partitions: create", "create_ms", "ms", False, []),
    ("partitions", "… memory per partition", "bytes_per_partition", "B", False, [("≤ 1/5 Kafka", "kafka", 1 / 5)]),
    ("partitions", "… clean restart", "elapsed_ms", "ms", False, [("≤ 1/20 Kafka", "kafka", 1 / 20)]),
]
COLUMNS = [("kafka", "Kafka 4.3.1, no fsync"), ("kafka-fsync", "Kafka 4.3.1, fsync per append"),
           ("millrace", "Millrace, fsync before ack"), ("null", "null broker (ceiling)")]


def write(directory):
    """Renders what results.jsonl holds."""
    directory = pathlib.Path(directory)
    lines = (directory / "results.jsonl").read_text().splitlines()
    entries = [derived(json.loads(line)) for line in lines if line]
    (directory / "results.md").write_text(markdown(entries))
    (directory / "latency.svg").write_text(svg.latency_plot(directory, entries))


def derived(entry):
    """Adds figures that follow from others."""
    if entry.get("broker") and entry.get("bytes"):
        entry["written_share"] = entry["broker"]["written_bytes"] / entry["bytes"]
    if entry["row"] == "cold":
        entry["read_mb"] = entry["broker"]["read_bytes"] / 1e6
    if "resident_bytes" in entry:
        entry["resident_mb"] = entry["resident_bytes"] / 1e6
    return entry


def markdown(entries):
    """The table of medians, then the device's limits."""
    names = [title for _, title in COLUMNS]
    out = ["# Comparison", "",
           "Medians; broker on one core, client on the other; written by `scripts/bench-compare`.", *machine(entries), "",
           f"| measure | {' | '.join(names)} | target | reached |", f"|---{'|---' * (len(names) + 2)}|"]
    for row, title, path, unit, more, targets in FIGURES:
        medians = {subject: median(entries, row, subject, path) for subject, _ in COLUMNS}
        if all(value is None for value in medians.values()):
            continue
        gigabytes = next((e["gigabytes"] for e in entries if e["row"] == row and "gigabytes" in e), "")
        cells = [cell(medians[subject], unit) for subject, _ in COLUMNS]
        reached = [verdict(medians, more, target) for target in targets]
        wanted = "; ".join(target[0] for target in targets)
        out.append(f"| {title.format(gigabytes=gigabytes)} | {' | '.join(cells)} | {wanted} | {'; '.join(reached)} |")
    return "\n".join(out + device(entries) + cross_check(entries) + spread(entries) + failures(entries)) + "\n"


def machine(entries):
    """What it was measured on."""
    found = [e for e in entries if e["row"] == "environment"]
    return [found[-1]["text"]] if found else []


def verdict(medians, more, target):
    """`3.2x, yes`: how ours stands to the target."""
    _, other, factor = target
    ours = medians.get("millrace")
    if ours is None:
        return "–"
    if other is None:
        return "yes" if ours <= factor else "**no**"
    theirs = medians.get(other)
    if not theirs:
        return "–"
    ratio = ours / theirs
    return f"{ratio:.2f}x, {'yes' if (ratio >= factor if more else ratio <= factor) else '**no**'}"


def device(entries):
    """What the disk does with nothing above it."""
    kinds = sorted({(e["block_bytes"], e["files"]) for e in entries if e["subject"] == "device"})
    if not kinds:
        return []
    out = ["", "Bare `O_DIRECT|O_DSYNC` appender into prewritten files, the limit for anything that waits for the disk:",
           "", "| block | files in parallel | MB/s | writes/s | p50 µs | p99 µs |", "|---|---|---|---|---|---|"]
    for block_bytes, files in kinds:
        row = f"appender-{block_bytes}-{files}"
        figures = [cell(median(entries, row, "device", path), "")
                   for path in ("mb_per_s", "writes_per_s", "p50_us", "p99_us")]
        out.append(f"| {block_bytes // 1024} KiB | {files} | {' | '.join(figures)} |")
    return out


def cross_check(entries):
    """Latencies of one load by two generators."""
    if not any(e["row"] == "crosscheck" for e in entries):
        return []
    out = ["", "The generator checked against Kafka's own: produce at 1,000/s to Kafka, linger 0, latency in µs "
           "(the tool counts whole milliseconds, from the send call instead of the intended moment):", "",
           "| generator | p50 | p99 | p99.9 | max |", "|---|---|---|---|---|"]
    for key, title in (("perf-tool", "kafka-producer-perf-test"), ("loadgen", "loadgen")):
        figures = [cell(median(entries, "crosscheck", key, path), "") for path in ("p50", "p99", "p99.9", "max")]
        out.append(f"| {title} | {' | '.join(figures)} |")
    return out


def spread(entries):
    """How far the repeats lie apart: a reader must see the noise."""
    worst = 0.0
    for row, _, path, *_ in FIGURES:
        for subject, _ in COLUMNS:
            found = values(entries, row, subject, path)
            if len(found) > 1 and path in ("mb_per_s", "requests_per_s") and min(found) > 0:
                worst = max(worst, max(found) / min(found) - 1)
    repeats = max((e["repeat"] + 1 for e in entries), default=0)
    if repeats < 2:
        return ["", "One run each: a check of the script, not a measurement."]
    return ["", f"{repeats} runs each; throughputs of one row and column differ by at most {worst:.0%} between runs. "
            "Single runs are in results.jsonl, the latency curves in latency.svg."]


def failures(entries):
    """Runs in which records failed or were not as written: their figures are in the table, their fault is here."""
    found = [f"- {e['row']}, {e['subject']}, run {e['repeat'] + 1}: {e['failed']}" for e in entries if "failed" in e]
    return ["", "Runs with failed records:", "", *found] if found else []


def values(entries, row, subject, path):
    """All measured values of one figure."""
    found = []
    for entry in entries:
        if entry["row"] == row and entry["subject"] == subject:
            value = lookup(entry, path)
            if value is not None:
                found.append(value)
    return found


def lookup(entry, path):
    """`a.b` looked up in nested objects; the name after the first dot may hold dots itself (p99.9)."""
    head, _, tail = path.partition(".")
    if path in entry:
        return entry[path]
    value = entry.get(head)
    return value.get(tail) if tail and isinstance(value, dict) else value


def median(entries, row, subject, path):
    found = values(entries, row, subject, path)
    return statistics.median(found) if found else None


def cell(value, unit):
    if value is None:
        return ""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def brief(entry):
    """One measurement in a few words, for the terminal."""
    parts = []
    for path, unit in (("mb_per_s", "MB/s"), ("requests_per_s", "req/s"), ("produce_latency_us.p99", "us p99"),
                       ("end_to_end_latency_us.p99", "us e2e p99"), ("broker.cpu_s_per_gb", "CPU-s/GB"),
                       ("p99", "us p99"), ("elapsed_ms", "ms"), ("cpu_percent", "% CPU"), ("resident_bytes", "B")):
        value = lookup(entry, path)
        if value is not None:
            parts.append(cell(value, unit))
    return ", ".join(parts)


if __name__ == "__main__":
    write(sys.argv[1])
