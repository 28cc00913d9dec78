"""The library by ctypes, as far as the benchmarks here need it."""

import ctypes
import json
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = os.environ.get("BGE_LIBRARY", str(ROOT / "target/release/libbge.so"))


class OpenOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("flags", ctypes.c_uint32),
                ("runtime_library", ctypes.c_char_p), ("device", ctypes.c_uint32),
                ("device_index", ctypes.c_uint32), ("threads", ctypes.c_uint32),
                ("max_tokens", ctypes.c_uint32), ("max_batch_tokens", ctypes.c_uint32),
                ("queue_capacity", ctypes.c_uint32), ("heads_dir", ctypes.c_char_p),
                ("onnx_file", ctypes.c_char_p), ("compute_type", ctypes.c_uint32),
                ("device_count", ctypes.c_uint32), ("max_run_bytes", ctypes.c_uint64),
                ("cache_dir", ctypes.c_char_p)]


class Embeddings(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("flags", ctypes.c_uint32),
                ("dense", ctypes.c_void_p), ("dense_capacity", ctypes.c_size_t),
                ("dense_stride", ctypes.c_size_t), ("token_counts", ctypes.c_void_p),
                ("rest", ctypes.c_uint64 * 12)]


class EncodeOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("flags", ctypes.c_uint32),
                ("max_tokens", ctypes.c_uint32), ("timeout_ms", ctypes.c_uint32),
                ("rest", ctypes.c_uint64 * 3)]


class Libbge:
    def __init__(self, model_dir, threads, library=None, prepare=False, cache_dir=None, **options):
        """`prepare`: TensorRT's engines are built first, unless they are there."""
        self.library = ctypes.CDLL(str(library or LIBRARY))
        self.model, self.error = ctypes.c_void_p(), ctypes.create_string_buffer(1024)
        options = OpenOptions(struct_size=ctypes.sizeof(OpenOptions), threads=threads,
                              cache_dir=cache_dir and str(cache_dir).encode(), **options)
        if prepare:
            self.check(self.library.bge_prepare(str(model_dir).encode(), ctypes.byref(options),
                                                None, None, self.error))
        self.check(self.library.bge_open(str(model_dir).encode(), ctypes.byref(options),
                                         ctypes.byref(self.model), self.error))
        self.dim = json.loads((Path(model_dir) / "config.json").read_text())["hidden_size"]

    def check(self, status):
        if status:
            raise SystemExit(self.error.raw[16:].split(b"\0")[0].decode())

    def prepare(self, texts):
        data = [text.encode() for text in texts]
        return (ctypes.c_char_p * len(data))(*data)

    def close(self):
        self.library.bge_close(self.model)
        self.model = None

    def count_tokens(self, pointers):
        counts = (ctypes.c_uint32 * len(pointers))()
        self.check(self.library.bge_count_tokens(self.model, pointers, None,
                                                 ctypes.c_size_t(len(pointers)), counts, self.error))
        return list(counts)

    def encode(self, pointers, timeout_ms=0):
        """The vectors, one after another, as an array of ctypes."""
        vectors = (ctypes.c_float * (len(pointers) * self.dim))()
        options = EncodeOptions(struct_size=ctypes.sizeof(EncodeOptions), timeout_ms=timeout_ms)
        out = Embeddings(struct_size=ctypes.sizeof(Embeddings),
                         dense=ctypes.addressof(vectors), dense_capacity=len(vectors))
        self.check(self.library.bge_encode(self.model, pointers, None,
                                           ctypes.c_size_t(len(pointers)), ctypes.byref(options),
                                           ctypes.byref(out), self.error))
        return vectors
