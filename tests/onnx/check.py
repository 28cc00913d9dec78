"""Checks a graph for a GPU by ONNX's own means.

    check.py GRAPH DEVICE COMPUTE_TYPE

The checker and strict shape inference have to pass. For CUDA, which has operators of ONNX Runtime, not
all types are known. For TensorRT, which has none, all are: products and attention have the compute type,
LayerNorm has 32 bits, and so do the outputs; no 64-bit integer comes in.
"""
import sys

import onnx
from onnx import TensorProto, shape_inference

path, device, compute_type = sys.argv[1:4]
STATES = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}[compute_type]

onnx.checker.check_model(path, full_check=True)
# The file of the weights is not needed for what follows.
model = shape_inference.infer_shapes(onnx.load(path, load_external_data=False), strict_mode=True, data_prop=True)
graph = model.graph
domains = {node.domain for node in graph.node}
types = {initializer.name: initializer.data_type for initializer in graph.initializer}
shapes = {}
for value in [*graph.input, *graph.value_info, *graph.output]:
    tensor = value.type.tensor_type
    types[value.name] = tensor.elem_type
    shapes[value.name] = [dim.dim_value or dim.dim_param or "?" for dim in tensor.shape.dim]
assert all(types[value.name] == TensorProto.INT32 for value in graph.input), "an input is not int32"
assert all(types[value.name] == TensorProto.FLOAT for value in graph.output), "an output is not fp32"

if device.startswith("cuda"):
    assert domains == {"", "com.microsoft"}, domains
else:
    assert domains == {""}, domains
    # Of those that onnx-tensorrt's docs/operators.md lists, for 16 bits, since TensorRT 10.1.
    known = {"Add", "Cast", "Concat", "Gather", "Gelu", "Gemm", "LayerNormalization", "MatMul", "Mul", "Reshape",
             "Shape", "Softmax", "Sub", "Transpose", "Unsqueeze"}
    found = {node.op_type for node in graph.node}
    assert found <= known, found - known
    made = [name for node in graph.node for name in node.output]
    unknown = [name for name in made if not types.get(name)]
    assert not unknown, f"types are not known: {unknown}"
    heads = [node for node in graph.node if node.name.startswith("Gemm") and node.output[0] == "multi"]
    for node in graph.node:
        found = {types[name] for name in node.input if name}
        if node.op_type == "LayerNormalization":
            assert found == {TensorProto.FLOAT}, f"{node.name}: {found}"
        if node.op_type in ("Gemm", "MatMul", "Softmax", "Gelu") and node not in heads:
            assert found == {STATES}, f"{node.name}: {found}"
    hidden = shapes["hidden"]
    assert hidden[0] == "rows" and isinstance(hidden[1], int), hidden
    assert shapes["input_ids"] == ["texts", "length"], shapes["input_ids"]
count = {}
for node in graph.node:
    count[node.op_type] = count.get(node.op_type, 0) + 1
print(len(graph.node), "nodes:", ", ".join(f"{name} {n}" for name, n in sorted(count.items())))
