"""The brokers under test, as processes: start on an empty or existing directory, stop, kill, measure."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
STOP_SECONDS_MAX = 60


class Broker:
    """One process; subclasses say how to prepare its directory and how to start it."""

    name = ""

    def __init__(self, tools, port):
        self.tools = tools
        self.port = port
        self.dir = tools.work_dir / self.name
        self.process = None

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def clear(self):
        """Leaves an empty directory, with the deletion finished before anything is timed."""
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        os.sync()

    def start(self, topic=None):
        """Starts the process; milliseconds until the first Metadata answer (and until `topic` has its leaders)."""
        log = open(self.tools.work_dir / f"{self.name}.log", "a")
        environment = dict(os.environ, **self.environment())
        since = time.time_ns()
        self.process = subprocess.Popen(
            ["taskset", "-c", self.tools.broker_core, *self.command()],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True)
        log.close()
        probe = ["probe", "--bootstrap", self.bootstrap, "--since-ns", str(since), "--timeout", "240"]
        if topic:
            probe += ["--topic", topic]
        try:
            return float(self.tools.loadgen_text(probe))
        except subprocess.CalledProcessError:
            self.kill()
            raise SystemExit(f"{self.name} does not answer; see {log.name}")

    def stop(self):
        """Asks for a clean end, and insists after a while."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def environment(self):
        return {}

    def command(self):
        raise NotImplementedError


class Kafka(Broker):
    """Apache Kafka: one KRaft node with its own default settings, heap as its start script sets it."""

    name = "kafka"
    cluster_id = "MkU3OEVBNTcwNTJENDM2Qg"
    flags = ("-Xmx1G -Xms1G -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 "
             "-XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true").split()

    def __init__(self, tools, port):
        super().__init__(tools, port)
        self.libraries = self.fetch_libraries()

    def fetch_libraries(self):
        """The jars, through Maven's ordinary client, once; KAFKA_LIBS names a directory that has them already."""
        given = os.environ.get("KAFKA_LIBS")
        libraries = pathlib.Path(given) if given else self.tools.root / ".cache" / "kafka-compare"
        if given or (libraries / ".complete").exists():
            return libraries
        libraries.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mvn", "-q", "-B", "-f", HERE / "kafka" / "pom.xml", "dependency:copy-dependencies",
                        f"-DoutputDirectory={libraries}"], check=True)
        (libraries / ".complete").touch()
        return libraries

    def java(self, *arguments):
        return ["java", *self.flags, f"-Dkafka.logs.dir={self.dir}",
                f"-Dlog4j2.configurationFile={HERE / 'kafka' / 'log4j2.yaml'}",
                "-cp", f"{self.libraries}/*", *arguments]

    def clear(self):
        super().clear()
        properties = self.dir / "server.properties"
        properties.write_text("\n".join([
            "process.roles=broker,controller",
            "node.id=1",
            f"controller.quorum.bootstrap.servers=127.0.0.1:{self.port + 1}",
            f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.port + 1}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.port + 1}",
            "controller.listener.names=CONTROLLER",
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "inter.broker.listener.name=PLAINTEXT",
            f"log.dirs={self.dir}/data",
            "offsets.topic.replication.factor=1",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
            "share.coordinator.state.topic.replication.factor=1",
            "share.coordinator.state.topic.min.isr=1",
            # Space of a deleted topic comes back before the next row.
            "log.segment.delete.delay.ms=1000",
        ]) + "\n")
        with open(self.tools.work_dir / "kafka-format.log", "w") as log:
            subprocess.run(self.java("kafka.tools.StorageTool", "format", "--standalone", "-t", self.cluster_id,
                                     "-c", str(properties)), check=True, stdout=log, stderr=log)
        os.sync()

    def producer_perf(self, topic, rate, records):
        """Latencies in microseconds that Kafka's own producer tool reports; its last line sums the run up."""
        command = ["taskset", "-c", self.tools.client_core,
                   *self.java("org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records",
                              str(records), "--record-size", "1000", "--throughput", str(rate), "--producer-props",
                              f"bootstrap.servers={self.bootstrap}", "acks=all", "linger.ms=0",
                              "enable.idempotence=false")]
        last = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().splitlines()[-1]
        found = re.findall(r"([\d.]+) ms (avg|max|50th|95th|99th|99.9th)", last)
        return {f"p{name[:-2]}" if name.endswith("th") else name: 1000 * float(value) for value, name in found}

    def command(self):
        return self.java("kafka.Kafka", str(self.dir / "server.properties"))


class Millrace(Broker):
    """Our broker with its defaults, but that space of a deleted topic comes back before the next row, as with Kafka."""

    name = "millrace"

    def command(self):
        return [str(self.tools.millrace), "serve", "--cores", self.tools.broker_core,
                "--data-dir", str(self.dir / "data"), "--listen", self.bootstrap,
                "--admin-listen", f"127.0.0.1:{self.port + 1}",
                "--set", "log.segment.delete.delay.ms=1000"]


class NullBroker(Broker):
    """Parses and acknowledges without storing: what generator and loopback can do at most."""

    name = "null"

    def command(self):
        return [str(self.tools.loadgen_bin), "null-broker", "--listen", self.bootstrap, "--partitions", "6",
                "--check-crc"]


class Subject:
    """One column of the table: a broker and how its topics are configured."""

    def __init__(self, key, title, broker, topic_configs=()):
        self.key = key
        self.title = title
        self.broker = broker
        self.topic_configs = topic_configs
