"""Runs the cases for a list of client families, against any broker."""
import os

from . import cases
from .driver import Driver
from .families import CACHE, FAMILIES


def run_clients(report, names, address, strict=None, restart=None):
    """`strict` is a broker that creates no topics; `restart` a function that restarts the one at `address`.

    What must outlive a restart is checked after it, and so is what one family reads of another: from the disk then.
    """
    commands = {name: FAMILIES[name]() for name in names}
    run_id = f"{os.getpid():x}"
    target = cases.Target(address, run_id)
    drivers = []
    try:
        for name, command in commands.items():
            report.case(f"{name}: starts", _start, drivers, name, command, address)
        for driver in drivers:
            _run_cases(report, target, driver)
        if strict:
            _run_strict(report, cases.Target(strict, run_id), commands)
        if restart:
            report.case("restart", restart)
            for driver in drivers:
                report.case(f"{driver.family}: group resumes", cases.group_resumes, target, driver)
        _run_matrix(report, target, drivers)
    finally:
        for driver in drivers:
            driver.close()


def _start(drivers, name, command, address):
    driver = Driver(name, command, address, CACHE / f"{name}.log")
    drivers.append(driver)
    return driver.client


def _run_cases(report, target, driver):
    for codec in cases.CODECS:
        for name, case in cases.EACH_CODEC:
            report.case(f"{driver.family}: {name} {codec}", case, target, driver, codec)
    for name, case in cases.ONCE:
        report.case(f"{driver.family}: {name}", case, target, driver)


def _run_strict(report, strict, commands):
    for name, command in commands.items():
        driver = Driver(name, command, strict.address, CACHE / f"{name}.log")
        try:
            report.case(f"{name}: unknown topic", cases.unknown_topic, strict, driver)
        finally:
            driver.close()


def _run_matrix(report, target, drivers):
    """Every family reads what every other family wrote, in every codec."""
    for writer in drivers:
        for reader in drivers:
            if writer is not reader:
                for codec in cases.CODECS:
                    name = f"{reader.family} reads {writer.family} {codec}"
                    report.case(name, cases.read_content, target, reader, writer, codec)
