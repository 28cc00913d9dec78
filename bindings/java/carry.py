"""Copies a shared library for the jar, under a soname of its own.

    carry.py FROM TO

The loader knows a library that is there by its soname. As libonnxruntime.so.1, that of libbge would be given to
Microsoft's own binding in place of the one in its jar, which is of another version. And libbge_jni.so, as cargo
links it, has the soname of libbge.so, for which it is no substitute.
"""

import sys

# Of one length, so that everything stays where it is.
NAMES = {b"libonnxruntime.so.1": b"libbgeonnxruntime.1", b"libbge.so.0": b"libbgejni.0"}


def main():
    source, target = sys.argv[1:]
    with open(source, "rb") as file:
        library = file.read()
    found = [name for name in NAMES if library.count(b"\0" + name + b"\0") == 1]
    if len(found) != 1:
        sys.exit(f"{source} has none of the sonames {list(NAMES)}, or one several times")
    [name] = found
    with open(target, "wb") as file:
        file.write(library.replace(b"\0" + name + b"\0", b"\0" + NAMES[name] + b"\0"))


main()
