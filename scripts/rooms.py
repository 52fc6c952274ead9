"""The rooms of a crate: its top-level modules, lowest first. A room uses those before it.

What still goes up is listed with its reason: nothing may be added to a circle in passing, and an arrow that is gone has
to leave the list. Tests may look at anything.
"""
import pathlib
import re

# Lowest first; rooms of one line do not use each other.
ROOMS = {
    "storage": [
        {"error", "config", "stats", "at_once", "mutant"},
        {"records"},
        {"decompress"},
        {"segment"},
        {"producer"},
        {"dir"},
        {"log"},
        {"shard"},
        {"commit"},
        {"recovery"},
        {"upkeep"},
        {"manager", "dump_log"},
    ],
    "broker": [
        {"config", "logging"},
        {"metadata"},
        {"admin"},
        {"stats"},
        {"replicas"},
        {"coordination"},
        {"mesh"},
        {"controller"},
        {"api"},
        {"clients"},
        {"cli"},
        {"node"},
    ],
}

UPWARD = {
    "storage": {
        ("log", "shard"): "a log and its shard hold each other",
        ("log", "commit"): "an append wakes who writes it, and a log has its state there",
        ("shard", "commit"): "a shard has one journal",
    },
    "broker": {},
}

ITEM = re.compile(r"\bcrate::(\w+)")
GROUP = re.compile(r"\bcrate::\{((?:[^{}]|\{[^{}]*\})*)\}")
COMMENT = re.compile(r"//.*")
TESTS = re.compile(r"#\[cfg\(test\)\]\s*mod \w+ \{.*", re.S)


def room_of(path):
    """`clients/connection.rs` and `clients.rs` stand in `clients`."""
    return path.parts[0].removesuffix(".rs")


def is_test(path):
    return path.stem.endswith("_test") or "tests" in path.parts


def named_in(text):
    """The top-level names that a file takes from its own crate."""
    text = COMMENT.sub("", TESTS.sub("", text))
    for group in GROUP.findall(text):
        flat = re.sub(r"\{[^{}]*\}", "", group)
        yield from (name.strip().split("::")[0] for name in flat.split(",") if name.strip())
    yield from ITEM.findall(text)


def errors_of(crate, files):
    """`files` are (path below src, text) of a crate."""
    level = {room: at for at, rooms in enumerate(ROOMS[crate]) for room in rooms}
    upward, seen = UPWARD[crate], set()
    for path, text in files:
        user = room_of(path)
        if is_test(path) or user in ("lib", "main"):
            continue
        if user not in level:
            yield f"{crate}: room `{user}` is not in the table of scripts/rooms.py"
            continue
        for used in sorted(set(named_in(text)) & set(level) - {user}):
            if level[used] < level[user]:
                continue
            if (user, used) not in upward:
                yield f"{crate}/src/{path}: room `{user}` must not use `{used}`, which stands above it"
            seen.add((user, used))
    for user, used in sorted(set(upward) - seen):
        yield f"{crate}: `{user}` does not use `{used}` any more: take it out of scripts/rooms.py"


def errors_in(root):
    for crate in ROOMS:
        src = pathlib.Path(root) / crate / "src"
        files = [(p.relative_to(src), p.read_text(encoding="utf-8")) for p in sorted(src.rglob("*.rs"))]
        yield from errors_of(crate, files)


def self_test():
    """Returns how many cases were right; raises AssertionError with one that was not."""
    known = [(pathlib.Path(f"{user}/a.rs"), f"use crate::{used}::X;") for user, used in UPWARD["storage"]]
    cases = [
        ("downwards", "log/read.rs", "use crate::segment::Tail;\nuse crate::{StorageError, config};", None),
        ("upwards", "segment/mod.rs", "use crate::upkeep::removal;", "`segment` must not use `upkeep`"),
        ("in a group", "dir/mod.rs", "use crate::{\n    error::{A, B},\n    manager::C,\n};", "must not use `manager`"),
        ("without a use", "log.rs", "fn f() { crate::manager::g() }", "`log` must not use `manager`"),
        ("in a comment", "log.rs", "//! See [`crate::manager`].", None),
        ("in tests", "log/mod.rs", "#[cfg(test)]\nmod tests {\n use crate::manager::C;\n}", None),
        ("a file of tests", "log/log_test.rs", "use crate::manager::C;", None),
        ("an unknown room", "attic/a.rs", "", "room `attic` is not in the table"),
    ]
    for what, path, text, expected in cases:
        found = list(errors_of("storage", [*known, (pathlib.Path(path), text)]))
        right = found == [] if expected is None else len(found) == 1 and expected in found[0]
        assert right, f"`{what}` expected {expected!r}, found {found}"
    gone = list(errors_of("storage", known[1:]))
    assert len(gone) == 1 and "any more" in gone[0], f"a stale exception: {gone}"
    return len(cases) + 1
