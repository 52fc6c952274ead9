"""Paths, pinning and the calls of loadgen and of the bare appender."""

import json
import os
import pathlib
import subprocess
import sys


class Tools:
    """What a comparison runs with."""

    def __init__(self, root, options):
        self.root = pathlib.Path(root)
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", self.root / "target"))
        self.release = target / "release"
        self.loadgen_bin = pathlib.Path(options.loadgen or self.release / "loadgen")
        self.appender_bin = pathlib.Path(options.appender or self.release / "dsync_appender")
        self.millrace = pathlib.Path(options.millrace or self.release / "millrace")
        self.broker_core = options.broker_core
        self.client_core = options.client_core
        self.work_dir = pathlib.Path(options.work_dir or target / "bench-compare").resolve()
        self.work_dir.mkdir(parents=True, exist_ok=True)
        self.results = pathlib.Path(options.results or self.root / "bench-results").resolve()
        self.results.mkdir(parents=True, exist_ok=True)

    def build(self, packages):
        """Builds what is measured and what measures."""
        arguments = [part for package in packages for part in ("-p", package)]
        subprocess.run(["cargo", "build", "--release", "--quiet", "--locked", *arguments], cwd=self.root, check=True)

    def environment(self):
        """Machine, kernel, file system and source in one line."""
        def output(*command):
            return subprocess.run(command, cwd=self.root, stdout=subprocess.PIPE, text=True).stdout.strip()
        models = [line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")]
        file_system = output("stat", "-f", "-c", "%T", str(self.work_dir))
        return (f"{len(models)} x {models[0] if models else 'unknown CPU'}, Linux {os.uname().release}, "
                f"{file_system}, Millrace at commit {output('git', 'rev-parse', '--short', 'HEAD')}, "
                f"load before the run {os.getloadavg()[0]:.1f}.")

    def loadgen_text(self, arguments):
        """Standard output of a loadgen call on the client's core; its failure is an exception."""
        command = ["taskset", "-c", self.client_core, str(self.loadgen_bin), *map(str, arguments)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def loadgen_beside(self, mode, broker, arguments):
        """A loadgen process beside whatever is measured; the caller waits for its end."""
        command = ["taskset", "-c", self.client_core, str(self.loadgen_bin), mode, "--bootstrap", broker.bootstrap]
        return subprocess.Popen([*command, *map(str, arguments)], stdout=subprocess.DEVNULL)

    def loadgen(self, mode, broker, arguments):
        """The JSON report of a run against `broker`. Failed records and violations are kept in it as `failed`."""
        # What earlier rows left in the page cache must not be written back during this one.
        os.sync()
        try:
            return json.loads(self.loadgen_text([
                mode, "--json", "--bootstrap", broker.bootstrap, "--broker-pid", broker.pid, *arguments]))
        except subprocess.CalledProcessError as error:
            if error.returncode != 1 or not error.stdout.strip():
                raise
            report = json.loads(error.stdout)
            what = f"{mode}: errors {report['errors']}, violations {report.get('violations', 0)}"
            print(f"FAILED {broker.name} {what}", file=sys.stderr, flush=True)
            return dict(report, failed=what)

    def appender(self, block_bytes, files, seconds):
        """The bare appender's report."""
        directory = self.work_dir / "appender"
        directory.mkdir(exist_ok=True)
        os.sync()
        command = ["taskset", "-c", self.broker_core, str(self.appender_bin), str(directory), str(block_bytes),
                   str(files), str(seconds)]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
