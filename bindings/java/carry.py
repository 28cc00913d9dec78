"""Copies ONNX Runtime for the jar, under a soname of its own.

    carry.py FROM TO

The loader knows a library that is there by its soname. As libonnxruntime.so.1, that of libbge would be given to
Microsoft's own binding in place of the one in its jar, which is of another version.
"""

import sys

# Of one length, so that everything stays where it is.
OLD, NEW = b"\0libonnxruntime.so.1\0", b"\0libbgeonnxruntime.1\0"


def main():
    source, target = sys.argv[1:]
    with open(source, "rb") as file:
        library = file.read()
    if library.count(OLD) != 1:
        sys.exit(f"{source} has not the soname {OLD.strip(bytes(1))}, or has it several times")
    with open(target, "wb") as file:
        file.write(library.replace(OLD, NEW))


main()
