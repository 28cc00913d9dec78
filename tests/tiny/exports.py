#!/usr/bin/env python3
"""Makes ONNX exports of the tiny model with heads, one of each kind that people publish.

    python exports.py

Run heads.py first. Every export computes what `heads` does, so that its golden file is theirs, too.
The names, shapes and types of inputs and outputs, and how the files are laid out, are those of
BAAI/bge-m3 (`onnx/`), optimum and Xenova/bge-m3, gpahal/bge-m3-onnx-int8, aapot/bge-m3-onnx,
yuniko-software/bge-m3-onnx and newtechstudio/bge-m3-3head. To keep them small, the word table is
that of heads/model.safetensors, as a file of external data.
"""

import json
import shutil
import tempfile
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.torch import load_file
from transformers import XLMRobertaModel

from make import HERE, dump, write_versions

HEADS = HERE / "heads"
FOLDER = HERE / "exports"
WORDS = "embeddings.word_embeddings.weight"
normalize = torch.nn.functional.normalize


class Export(torch.nn.Module):
    """The model with heads, with the outputs that a kind of export has."""

    def __init__(self, outputs):
        super().__init__()
        self.model = XLMRobertaModel.from_pretrained(HEADS, attn_implementation="eager", add_pooling_layer=False).eval()
        self.sparse, self.multi = torch.nn.Linear(32, 1), torch.nn.Linear(32, 8)
        self.sparse.load_state_dict(load_file(HEADS / "sparse_linear.safetensors"))
        self.multi.load_state_dict(load_file(HEADS / "colbert_linear.safetensors"))
        self.outputs = outputs

    def forward(self, input_ids, attention_mask, token_type_ids=None, position_ids=None):
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids,
                            position_ids=position_ids).last_hidden_state
        values = {
            "hidden": hidden,
            "dense": normalize(hidden[:, 0], dim=-1),
            "dense_raw": hidden[:, 0],
            "sparse": torch.relu(self.sparse(hidden)),
            "sparse_rank_2": torch.relu(self.sparse(hidden))[:, :, 0],
            "multi": normalize(self.multi(hidden[:, 1:]) * attention_mask[:, 1:, None].float(), dim=-1),
            "multi_raw": self.multi(hidden),
        }
        return tuple(values[output] for output in self.outputs)


INPUTS = ["input_ids", "attention_mask", "token_type_ids", "position_ids"]


def traced(outputs, names, inputs=2, dtype=torch.long, shape=(2, 9), free=True, opset=14):
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "model.onnx"
        ids = torch.randint(4, 1000, shape).to(dtype)
        # The encoder makes positions itself unless they are an input.
        example = [ids, torch.ones_like(ids), torch.zeros_like(ids),
                   (torch.arange(2, 2 + shape[1]).expand(shape)).to(dtype)][:inputs]
        axes = {name: {0: "batch_size", 1: "sequence_length"} for name in INPUTS[:inputs]} if free else None
        torch.onnx.export(Export(outputs), tuple(example), str(path), input_names=INPUTS[:inputs],
                          output_names=names, dynamic_axes=axes, opset_version=opset, dynamo=False)
        return onnx.load(str(path))


def external(tensor, location, offset=0, length=None):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in [("location", location), ("offset", offset), ("length", length)]:
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))


def share_words(model, folder, location):
    """Points the word table at the one in heads/model.safetensors, under another name."""
    data = (HEADS / "model.safetensors").read_bytes()
    header_length = int.from_bytes(data[:8], "little")
    begin, end = json.loads(data[8:8 + header_length])[WORDS]["data_offsets"]
    tensor = next(t for t in model.graph.initializer if t.name.endswith(WORDS))
    assert tensor.raw_data == data[8 + header_length:][begin:end]
    external(tensor, location, 8 + header_length + begin, end - begin)
    up = "../" * len(folder.relative_to(HERE).parts)
    (folder / location).symlink_to(f"{up}heads/model.safetensors")


def keep_constant_apart(model, folder, location):
    """A constant in a file of its own, as the export of BAAI/bge-m3 has one."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and len(attribute.t.raw_data) > 1000:
                (folder / location).write_bytes(attribute.t.raw_data)
                return external(attribute.t, location)
    raise AssertionError("there is no such constant")


def halved(model):
    """Gives every output 16 bits."""
    for output in list(model.graph.output):
        wide = f"{output.name}_wide"
        for node in model.graph.node:
            for names in (node.output, node.input):
                for index, name in enumerate(names):
                    if name == output.name:
                        names[index] = wide
        model.graph.node.append(helper.make_node("Cast", [wide], [output.name], to=TensorProto.FLOAT16))
        output.type.tensor_type.elem_type = TensorProto.FLOAT16


def folder_of(kind, modules):
    folder = FOLDER / kind
    folder.mkdir(parents=True)
    for name in ["config.json", "tokenizer.json"] + (["modules.json", "1_Pooling", "sentence_bert_config.json", "tokenizer_config.json"] if modules else []):
        (folder / name).symlink_to(f"../../heads/{name}")
    if not modules:
        dump(folder / "tokenizer_config.json", {"model_max_length": 128, "tokenizer_class": "PreTrainedTokenizerFast"})
    return folder


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shutil.rmtree(FOLDER, ignore_errors=True)

    folder = folder_of("baai", modules=True)
    (folder / "onnx").mkdir()
    model = traced(["hidden", "dense"], ["token_embeddings", "sentence_embedding"])
    share_words(model, folder / "onnx", "model.onnx_data")
    keep_constant_apart(model, folder / "onnx", "Constant_7_attr__value")
    onnx.save(model, folder / "onnx/model.onnx")

    folder = folder_of("optimum", modules=True)
    model = traced(["hidden", "dense_raw"], ["last_hidden_state", "pooler_output"], inputs=3)
    share_words(model, folder, "model.onnx_data")
    onnx.save(model, folder / "model.onnx")

    three = ["dense", "sparse", "multi"]
    folder = folder_of("aapot", modules=False)
    model = traced(three, ["dense_vecs", "sparse_vecs", "colbert_vecs"], opset=17)
    share_words(model, folder, "model.onnx.data")
    onnx.save(model, folder / "model.onnx")

    folder = folder_of("yuniko", modules=False)
    model = traced(three, ["dense_embeddings", "sparse_weights", "colbert_vectors"], opset=18)
    share_words(model, folder, "bge_m3_model.onnx_data")
    onnx.save(model, folder / "bge_m3_model.onnx")

    folder = folder_of("newtechstudio", modules=False)
    model = traced(["dense_raw", "sparse_rank_2", "multi_raw"], ["dense", "sparse", "colbert"], opset=17)
    share_words(model, folder, "model.onnx.data")
    onnx.save(model, folder / "model.onnx")

    folder = folder_of("int32-fp16", modules=False)
    model = traced(three, ["output_0", "output_1", "output_2"], inputs=4, dtype=torch.int32)
    halved(model)
    share_words(model, folder, "model.onnx_data")
    onnx.save(model, folder / "model.onnx")

    folder = folder_of("fixed", modules=False)
    model = traced(["dense"], ["sentence_embedding"], shape=(1, 32), free=False)
    share_words(model, folder, "model.onnx_data")
    onnx.save(model, folder / "model.onnx")

    folder = folder_of("int8", modules=False)
    with tempfile.TemporaryDirectory() as plain:
        onnx.save(traced(three, ["dense_vecs", "sparse_vecs", "colbert_vecs"]), f"{plain}/model.onnx")
        quantize_dynamic(f"{plain}/model.onnx", f"{plain}/int8.onnx", weight_type=QuantType.QInt8,
                         op_types_to_quantize=["MatMul"])
        model = onnx.load(f"{plain}/int8.onnx")
    share_words(model, folder, "model_quantized.onnx_data")
    onnx.save(model, folder / "model_quantized.onnx")
    write_versions()


if __name__ == "__main__":
    main()
