#!/usr/bin/env python3
"""Check licences and duplicate versions of every crate in Cargo.lock, offline.

    .ci/crates.py

Reads `cargo metadata --offline --locked` for this host. Exits 1 and says what is wrong when a crate has no licence
that is allowed here, when a crate is there in two versions without a reason below, or when a reason is out of date.
"""

import collections
import json
import re
import subprocess
import sys

# Permissive, and compatible with this project's Apache-2.0.
ALLOWED = {
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}

# Crates that may be there in several versions, and why.
DUPLICATES = {
    "base64": "bollard and docker_credential have their own beside the one of object_store and reqwest",
    "crypto-common": "comes with digest",
    "digest": "crc-fast, which object_store needs for S3, has its own beside that of sha2",
    "getrandom": "ring has its own beside that of rand",
    "syn": "tracing's attributes have their own; both run while compiling only",
    "hashbrown": "petgraph has its own beside the one that comes with indexmap",
}


def is_allowed(expression, allowed):
    """Whether the allowed licences satisfy an SPDX expression; an exception (`WITH`) only ever permits more.

    >>> [is_allowed(e, {"MIT", "Zlib"}) for e in ("MIT", "GPL-3.0-only", "GPL-3.0-only OR MIT", "MIT/Apache-2.0")]
    [True, False, True, True]
    >>> is_allowed("(GPL-3.0-only OR MIT) AND Zlib", {"MIT", "Zlib"})
    True
    >>> is_allowed("MIT AND (GPL-3.0-only OR ISC)", {"MIT", "Zlib"})
    False
    >>> is_allowed("Apache-2.0 WITH LLVM-exception OR GPL-2.0-only", {"Apache-2.0"})
    True
    >>> is_allowed("GPL-2.0-only AND MIT OR Zlib", {"MIT", "Zlib"})
    True
    >>> is_allowed("MIT Zlib", {"MIT", "Zlib"})
    Traceback (most recent call last):
    ValueError: `MIT Zlib` is not an SPDX expression
    """
    # The slash is how old crates write OR.
    words = re.findall(r"[()]|[^\s()/]+|/", expression)
    words = ["OR" if word == "/" else word for word in words]

    def wrong():
        return ValueError(f"`{expression}` is not an SPDX expression")

    def one():
        word = words.pop(0) if words else ""
        if word == "(":
            inside = either()
            if not words or words.pop(0) != ")":
                raise wrong()
            return inside
        if word in ("", ")", "AND", "OR", "WITH"):
            raise wrong()
        if words[:1] == ["WITH"]:
            del words[:2]
        return word in allowed

    # OR binds less than AND; every part is read, whatever the ones before it gave.
    def all_of():
        holds = one()
        while words[:1] == ["AND"]:
            words.pop(0)
            holds &= one()
        return holds

    def either():
        holds = all_of()
        while words[:1] == ["OR"]:
            words.pop(0)
            holds |= all_of()
        return holds

    holds = either()
    if words:
        raise wrong()
    return holds


def problems(packages):
    """What is wrong, a line each."""
    versions = collections.defaultdict(list)
    for package in packages:
        name = f"{package['name']} {package['version']}"
        versions[package["name"]].append(package["version"])
        licence = package["license"]
        try:
            if licence is None:
                yield f"{name}: its manifest names no licence"
            elif not is_allowed(licence, ALLOWED):
                yield f"{name}: `{licence}` is not allowed; see ALLOWED in .ci/crates.py"
        except ValueError as error:
            yield f"{name}: {error}"
    for name, found in sorted(versions.items()):
        if len(found) > 1 and name not in DUPLICATES:
            yield f"{name}: {len(found)} versions ({', '.join(found)}); unify them, or give a reason in .ci/crates.py"
    for name in DUPLICATES:
        if len(versions[name]) < 2:
            yield f"{name}: listed as a duplicate in .ci/crates.py and is none any more"


def main():
    host = next(
        line.removeprefix("host: ")
        for line in subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout.splitlines()
        if line.startswith("host: ")
    )
    # Without the platform, cargo wants crates of other systems that were never downloaded.
    command = ["cargo", "metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host]
    packages = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["packages"]
    found = list(problems(packages))
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    print(f"{len(packages)} crates, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
