"""kcat as Debian ships it: librdkafka on a command line, driven through its own formats."""
import base64
import json
import subprocess

from driver_loop import serve

TIMEOUT_S = 40


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    def hello(self):
        text = subprocess.run(["kcat", "-V"], capture_output=True, text=True, check=True).stdout
        version = next(line for line in text.splitlines() if line.startswith("Version"))
        cannot = ["null-header", "binary", "timestamp", "create", "delete", "configs", "add-partitions", "alter",
                  "max-timestamp", "empty-key"]
        return {"client": f"kcat {version}", "cannot": cannot}

    def _kcat(self, *arguments, stdin=None):
        command = ["kcat", "-b", self.bootstrap, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise OSError(done.stderr.decode(errors="replace").strip())
        return done.stdout

    def produce(self, topic, partition, codec, records, idempotent=False, request_bytes_max=None,
                timeout_s=20):
        """One kcat run per set of headers, since -H counts for a whole run; -Z makes an empty value a null."""
        settings = ["-X", f"enable.idempotence={str(idempotent).lower()}", "-X", "linger.ms=20",
                    "-X", f"message.timeout.ms={1000 * timeout_s}", "-z", codec]
        if request_bytes_max:
            settings += ["-X", f"message.max.bytes={request_bytes_max}"]
        where = ["-p", str(partition)] if partition >= 0 else []
        for run in same_shape_runs(records):
            headers = [part for name, value in run[0].headers for part in ("-H", f"{name}={value.decode()}")]
            nulls = ["-Z"] if any(r.value is None or r.key is None for r in run) else []
            lines = b"".join((r.key or b"") + b"\x01" + (r.value or b"") + b"\x02" for r in run)
            self._kcat("-P", "-t", topic, "-K", "\\x01", "-D", "\\x02", *where, *settings, *nulls, *headers,
                       stdin=lines)
        return {"offsets": None}

    @staticmethod
    def _format():
        """Lengths tell null (-1) from empty; the rest is hex so that any byte comes through."""
        return "%p %o %T %K %S\\n%k\\n%s\\n%h\\n"

    def _parse(self, output):
        records, at = [], 0
        while at < len(output):
            end = output.index(b"\n", at)
            partition, offset, timestamp, key_size, value_size = map(int, output[at:end].split())
            at = end + 1
            key, at = take(output, at, key_size)
            value, at = take(output, at, value_size)
            end = output.index(b"\n", at)
            headers = [h.split("=", 1) for h in output[at:end].decode().split(",") if h]
            at = end + 1
            records.append({
                "p": partition, "o": offset, "t": timestamp, "k": key, "v": value,
                "h": [[name, base64.b64encode(content.encode()).decode()] for name, content in headers],
            })
        return records

    def consume(self, topic, partition, offset, count):
        start = {-2: "beginning", -1: "end"}.get(offset, str(offset))
        output = self._kcat("-C", "-t", topic, "-p", str(partition), "-o", start, "-c", str(count), "-q", "-e",
                            "-f", self._format(), "-X", "allow.auto.create.topics=false")
        return {"records": self._parse(output)}

    def group(self, group, topic, count):
        output = self._kcat("-G", group, "-c", str(count), "-q", "-f", self._format(), "-X",
                            "auto.offset.reset=earliest", topic)
        return {"records": self._parse(output)}

    def offset(self, topic, partition, at):
        output = self._kcat("-Q", "-t", f"{topic}:{partition}:{at}").decode()
        return {"offset": int(output.rsplit(" ", 1)[1])}

    def _metadata(self, *arguments):
        return json.loads(self._kcat("-L", "-J", *arguments))["topics"]

    def partitions(self, topic):
        found = self._metadata("-t", topic, "-X", "allow.auto.create.topics=false")[0]
        if "error" in found:
            raise OSError(found["error"])
        return {"partitions": len(found["partitions"])}

    def topics(self):
        return {"topics": [topic["topic"] for topic in self._metadata()]}


def same_shape_runs(records):
    """Neighbours that one kcat run can send: equal headers, and no mix of null and empty."""
    runs = []
    for record in records:
        shape = (record.headers, record.value is None, record.value == b"", record.key is None)
        if runs and runs[-1][0] == shape:
            runs[-1][1].append(record)
        else:
            runs.append((shape, [record]))
    return [run for _, run in runs]


def take(output, at, size):
    """Field of `size` bytes and its line end; a null is printed as nothing, or as NULL by some builds."""
    if size < 0:
        end = output.index(b"\n", at)
        return None, end + 1
    field = output[at:at + size]
    return base64.b64encode(field).decode(), at + size + 1


serve(Driver)
