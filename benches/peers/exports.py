"""The weights as ONNX: as torch traces them, fused for onnxruntime, and quantized by it."""

import json

from peers.batches import made


def plain(model_dir, cache):
    return made(cache / "onnx", lambda folder: trace(model_dir, folder)) / "model.onnx"


def fused(model_dir, cache):
    return made(cache / "onnx-fused", lambda folder: fuse(model_dir, cache, folder)) / "model.onnx"


def int8(model_dir, cache):
    return made(cache / "onnx-int8", lambda folder: quantize(model_dir, cache, folder)) / "model.onnx"


def trace(model_dir, folder):
    """The last hidden state."""
    import torch
    from transformers import XLMRobertaModel

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = XLMRobertaModel.from_pretrained(
                model_dir, add_pooling_layer=False, attn_implementation="eager").eval()

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask)[0]

    folder.mkdir(exist_ok=True)
    names = ["input_ids", "attention_mask"]
    example = torch.tensor([[0, 5, 6, 2], [0, 5, 2, 1]])
    with torch.no_grad():
        torch.onnx.export(
            Encoder(), (example, (example != 1).long()), str(folder / "model.onnx"),
            input_names=names, output_names=["last_hidden_state"],
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in [*names, "last_hidden_state"]},
            opset_version=17, dynamo=False)


def fuse(model_dir, cache, folder):
    from onnxruntime.transformers import optimizer
    config = json.loads((model_dir / "config.json").read_text())
    model = optimizer.optimize_model(str(plain(model_dir, cache)), model_type="bert", opt_level=0,
                                     num_heads=config["num_attention_heads"],
                                     hidden_size=config["hidden_size"])
    print("fused:", model.get_fused_operator_statistics())
    folder.mkdir(exist_ok=True)
    model.save_model_to_file(str(folder / "model.onnx"), use_external_data_format=True)


def quantize(model_dir, cache, folder):
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    folder.mkdir(exist_ok=True)
    quantize_dynamic(str(fused(model_dir, cache)), str(folder / "model.onnx"), per_channel=True,
                     weight_type=QuantType.QInt8, use_external_data_format=True,
                     # Shapes and types behind operators of onnxruntime's own are not inferred.
                     extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
