"""Small file systems in a file, mounted through a loop device, that can lose power or run full.

Needs root. Whatever is mounted or attached is recorded, and `close` undoes exactly that.
"""
import fcntl
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time

# _IOR('X', 125, u32): shut a file system down; 2 = without flushing its journal. ext4 and xfs know it.
SHUTDOWN_IOCTL, NO_LOG_FLUSH = 0x8004587D, 2


def run(*command, check=True):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if check and done.returncode != 0:
        raise OSError(f"`{' '.join(command)}` failed: {done.stdout.strip()}")
    return done


def why_unavailable(file_system="ext4"):
    """None if loop mounts work here, else the reason in words."""
    if os.geteuid() != 0:
        return "loop mounts need root"
    if shutil.which(f"mkfs.{file_system}") is None:
        return f"mkfs.{file_system} is not installed"
    try:
        with Disk(size_mib=320 if file_system == "xfs" else 16, file_system=file_system):
            return None
    except OSError as error:
        return str(error)


class Disk:
    """A mounted file system of its own. `volatile` puts a disk with a volatile write cache below it."""

    def __init__(self, size_mib, file_system="ext4", volatile=False, directory=None):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="millrace-disk-", dir=directory))
        self.mount_point = self.home / "mnt"
        self.image = self.home / "image"
        self.file_system, self.size_mib = file_system, size_mib
        self.loop = self.cache = None
        self.mounted = False
        try:
            self._create(volatile)
        except BaseException:
            self.close()
            raise

    def _create(self, volatile):
        self.mount_point.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(self.size_mib << 20)
        flag = ["-f"] if self.file_system == "xfs" else ["-F", "-m", "0"]
        run(f"mkfs.{self.file_system}", "-q", *flag, str(self.image))
        if volatile:
            self.cache = VolatileCache(self.home / "below", self.image)
        self.mount()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def mount(self):
        below = self.cache.path if self.cache else self.image
        self.loop = run("losetup", "--find", "--show", str(below)).stdout.strip()
        run("mount", "-t", self.file_system, self.loop, str(self.mount_point))
        self.mounted = True

    def unmount(self):
        """The process that used the disk may take a moment to let go of it."""
        deadline = time.monotonic() + 10
        while self.mounted:
            done = run("umount", str(self.mount_point), check=False)
            if done.returncode == 0 or "not mounted" in done.stdout:
                self.mounted = False
            elif time.monotonic() > deadline:
                raise OSError(f"umount: {done.stdout.strip()}")
            else:
                time.sleep(0.05)
        if self.loop:
            run("losetup", "--detach", self.loop)
            self.loop = None

    def cut_power(self, seed):
        """From here on nothing is stored. Returns a note; `restore` brings the disk back as it was at this moment."""
        if self.cache:
            return self.cache.command(f"cut {seed}")
        descriptor = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN_IOCTL, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)
        return "file system shut down"

    def restore(self):
        self.unmount()
        if self.cache:
            self.cache.command("heal")
        self.mount()

    def free_bytes(self):
        status = os.statvfs(self.mount_point)
        return status.f_bavail * status.f_frsize

    def close(self):
        try:
            self.unmount()
        finally:
            if self.cache:
                self.cache.close()
            shutil.rmtree(self.home, ignore_errors=True)


class VolatileCache:
    """The process behind volatile_file.py and its mount."""

    def __init__(self, mount_point, image):
        self.mount_point, self.path = mount_point, mount_point / "disk"
        mount_point.mkdir()
        command = [sys.executable, str(pathlib.Path(__file__).with_name("volatile_file.py")), str(mount_point), str(image)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 10
        while not os.path.ismount(mount_point):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise OSError("the FUSE disk did not start")
            time.sleep(0.01)

    def command(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self):
        run("umount", str(self.mount_point), check=False)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
