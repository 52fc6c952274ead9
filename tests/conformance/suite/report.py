"""Counts what passed and failed, and says so as it happens."""
import sys
import time
import traceback


class Failure(Exception):
    """A check that did not hold; its message says what was expected."""


class Skipped(Exception):
    """A case that cannot run here; its message says why."""


class Report:
    def __init__(self, only=None):
        self.passed, self.failed, self.skipped = 0, [], []
        self.only = only

    def case(self, name, function, *arguments):
        """Runs one case; every exception is a failure of that case alone. Returns whether it passed."""
        if self.only and self.only not in name:
            return False
        started = time.monotonic()
        try:
            note = function(*arguments)
        except Skipped as reason:
            self.skipped.append(name)
            print(f"SKIP {name}: {reason}", flush=True)
            return False
        except Failure as failure:
            return self._failed(name, str(failure))
        except Exception as error:  # pylint: disable=broad-except
            traceback.print_exc(file=sys.stdout)
            return self._failed(name, f"{type(error).__name__}: {error}")
        self.passed += 1
        print(f"ok   {name}  {time.monotonic() - started:.2f} s{'  ' + note if note else ''}", flush=True)
        return True

    def _failed(self, name, message):
        self.failed.append(name)
        print(f"FAIL {name}: {message}", flush=True)
        return False

    def finish(self):
        """Prints the summary and returns the exit status. No case at all is a failure too."""
        for name in self.failed:
            print(f"failed: {name}")
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        print(f"{self.passed} passed, {len(self.failed)} failed{skipped}", flush=True)
        return 1 if self.failed or not (self.passed or self.skipped) else 0


def check(condition, message):
    if not condition:
        raise Failure(message)


def check_equal(found, expected, what):
    check(found == expected, f"{what}: found {found!r}, expected {expected!r}")
