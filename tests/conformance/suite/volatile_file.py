"""A disk with a volatile write cache, as one file in a FUSE mount, spoken straight to /dev/fuse.

Writes stay in this process's memory until a flush; only then do they reach the image. A power cut drops what was not
flushed, or lets a random set of its 512-byte sectors through, as a real drive does. A loop device on top of the
file turns every barrier of the file system above into a flush, so even direct I/O into allocated blocks is lost
when nobody asked for it to be durable; that is what the shutdown ioctl of a file system cannot show.

Runs as a process of its own: python3 volatile_file.py MOUNT IMAGE. Commands on standard input, one per line, each
answered with one line: `cut SEED` (from now on nothing is stored and every write and flush fails), `cut-behind N SEED`
(the same behind N more writes and flushes), `heal`, `delay MS` (how long a flush takes), `flushes` and `operations` (how
many flushes, and writes and flushes, there were).
"""
import ctypes
import errno
import os
import random
import select
import stat
import struct
import sys
import time

SECTOR, BLOCK = 512, 4096
ROOT_ID, FILE_ID, NAME = 1, 2, b"disk"
REQUEST_HEADER = struct.Struct("<IIQQIIIHH")
WRITE_BYTES_MAX = 1 << 20
LOOKUP, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE = 1, 3, 4, 14, 15, 16, 17, 18
FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS, DESTROY = 20, 25, 26, 27, 28, 29, 34, 38
FORGET, INTERRUPT, BATCH_FORGET = 2, 36, 42
UNANSWERED = {FORGET, INTERRUPT, BATCH_FORGET}
FUSE_ASYNC_READ, FUSE_BIG_WRITES, FUSE_MAX_PAGES = 1 << 0, 1 << 5, 1 << 22
FOPEN_DIRECT_IO = 1


class Disk:
    """Invariant: `pending` holds whole blocks, newest content only, that the image does not have yet."""

    def __init__(self, image):
        self.image = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.image).st_size
        self.pending = {}
        self.dead = False
        self.flushes, self.operations, self.delay_s = 0, 0, 0
        self.left, self.seed = None, 0

    def read(self, offset, size):
        size = max(0, min(size, self.size - offset))
        data = bytearray(os.pread(self.image, size, offset))
        for block in range(offset // BLOCK, -(-(offset + size) // BLOCK)):
            content = self.pending.get(block)
            if content is not None:
                start = max(offset, block * BLOCK)
                end = min(offset + size, (block + 1) * BLOCK)
                data[start - offset:end - offset] = content[start - block * BLOCK:end - block * BLOCK]
        return bytes(data)

    def begin(self):
        """Counts a write or a flush, which fails if the power is off or goes now."""
        self.operations += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.cut(self.seed)
        if self.dead:
            raise OSError(errno.EIO, "power is off")

    def write(self, offset, data):
        self.begin()
        at = 0
        while at < len(data):
            block, inside = divmod(offset + at, BLOCK)
            part = data[at:at + BLOCK - inside]
            if len(part) < BLOCK:
                content = bytearray(self.read(block * BLOCK, BLOCK))
                content[inside:inside + len(part)] = part
                part = bytes(content)
            self.pending[block] = part
            at += BLOCK - inside

    def flush(self):
        self.begin()
        self.flushes += 1
        time.sleep(self.delay_s)
        for block, content in self.pending.items():
            os.pwrite(self.image, content, block * BLOCK)
        self.pending.clear()

    def cut(self, seed):
        """Seed 0 drops everything unflushed; any other lets a random part of the sectors through."""
        dropped = len(self.pending)
        if seed:
            chance = random.Random(seed)
            share = chance.random()
            for block, content in self.pending.items():
                for sector in range(0, BLOCK, SECTOR):
                    if chance.random() < share:
                        os.pwrite(self.image, content[sector:sector + SECTOR], block * BLOCK + sector)
        self.pending.clear()
        self.dead, self.left = True, None
        return dropped


class Server:
    """Answers the kernel's requests for a directory with one file in it."""

    def __init__(self, mount, disk):
        self.disk = disk
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"millrace-disk", os.fsencode(mount), b"fuse.millrace", 0, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), "mount of FUSE failed")

    def run(self):
        while True:
            ready, _, _ = select.select([self.device, sys.stdin], [], [])
            if sys.stdin in ready:
                line = sys.stdin.readline()
                if not line:
                    return
                self.command(line.split())
            if self.device in ready:
                try:
                    request = os.read(self.device, WRITE_BYTES_MAX + BLOCK)
                except OSError as gone:
                    if gone.errno == errno.ENODEV:
                        return
                    continue
                self.serve(request)

    def command(self, words):
        if words[0] == "cut":
            print(f"cut, {self.disk.cut(int(words[1]))} blocks were not flushed", flush=True)
        elif words[0] == "delay":
            self.disk.delay_s = int(words[1]) / 1000
            print(f"flushes take {words[1]} ms", flush=True)
        elif words[0] == "cut-behind":
            self.disk.left, self.disk.seed = int(words[1]), int(words[2])
            print(f"to be cut behind {words[1]} operations", flush=True)
        elif words[0] in ("flushes", "operations"):
            print(getattr(self.disk, words[0]), flush=True)
        else:
            self.disk.dead = False
            print("healed", flush=True)

    def serve(self, request):
        _, operation, unique, node = REQUEST_HEADER.unpack_from(request)[:4]
        if operation in UNANSWERED:
            return
        try:
            status, body = 0, self.answer(operation, node, request[REQUEST_HEADER.size:])
        except OSError as error:
            status, body = -error.errno, b""
        try:
            os.write(self.device, struct.pack("<IiQ", 16 + len(body), status, unique) + body)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def answer(self, operation, node, body):
        if operation == INIT:
            flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, 1 << 20, flags, 64, 48, WRITE_BYTES_MAX, 1,
                               WRITE_BYTES_MAX // 4096, 0, 0)
        if operation == LOOKUP:
            if node != ROOT_ID or body.rstrip(b"\0") != NAME:
                raise OSError(errno.ENOENT, "no such file")
            return struct.pack("<QQQQII", FILE_ID, 0, 3600, 3600, 0, 0) + self.attributes(FILE_ID)
        if operation in (GETATTR, SETATTR):
            return struct.pack("<QII", 3600, 0, 0) + self.attributes(node)
        if operation in (OPEN, OPENDIR):
            return struct.pack("<QIi", 0, FOPEN_DIRECT_IO if operation == OPEN else 0, 0)
        if operation == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return self.disk.read(offset, size)
        if operation == WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            self.disk.write(offset, body[40:40 + size])
            return struct.pack("<II", size, 0)
        if operation == FSYNC:
            self.disk.flush()
            return b""
        if operation == STATFS:
            return bytes(80)
        if operation in (FLUSH, RELEASE, RELEASEDIR, READDIR, ACCESS, DESTROY):
            return b""
        raise OSError(errno.ENOSYS, "not implemented")

    def attributes(self, node):
        mode = stat.S_IFDIR | 0o755 if node == ROOT_ID else stat.S_IFREG | 0o600
        size = 0 if node == ROOT_ID else self.disk.size
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


if __name__ == "__main__":
    Server(sys.argv[1], Disk(sys.argv[2])).run()
