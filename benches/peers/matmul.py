"""The matrix products of the model's linear layers and nothing else, in onnxruntime: what is left
for the rest of an encoder, and for a better kernel."""

import json

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

# Rows of a product: more of them gain nothing, and would only need memory.
ROWS_MAX = 2048


class Encoder:
    def __init__(self, model_dir, cache, threads):
        self.config, self.threads = json.loads((model_dir / "config.json").read_text()), threads

    def convert(self):
        pass

    def open(self):
        hidden, inner = self.config["hidden_size"], self.config["intermediate_size"]
        # Query, key, value, output, and the two of the feed-forward network.
        shapes = [(hidden, hidden)] * 4 + [(hidden, inner), (inner, hidden)]
        dice, nodes, weights = np.random.default_rng(3), [], []
        for place, shape in enumerate(shapes * self.config["num_hidden_layers"]):
            matrix = dice.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[0]))
            weights.append(onnx.numpy_helper.from_array(matrix, f"w{place}"))
            nodes.append(helper.make_node("MatMul", [f"x{place}", f"w{place}"], [f"x{place + 1}"]))
        value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", hidden])
        graph = helper.make_graph(nodes, "products", [value("x0")], [value(f"x{len(nodes)}")], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                                    providers=["CPUExecutionProvider"])

    def prepare(self, texts, ids):
        """As many rows as the texts have tokens, in pieces."""
        tokens = sum(map(len, ids))
        rows = [min(ROWS_MAX, tokens - start) for start in range(0, tokens, ROWS_MAX)]
        dice = np.random.default_rng(5)
        return [dice.standard_normal((count, self.config["hidden_size"]), np.float32) for count in rows]

    def encode(self, work):
        for rows in work:
            self.session.run(None, {"x0": rows})
        return b""
