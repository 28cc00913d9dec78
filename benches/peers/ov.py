"""OpenVINO on the ONNX export of torch."""

import threading

import openvino

from peers import batches, exports


class Encoder:
    def __init__(self, model_dir, cache, threads, form="f32"):
        self.model_dir, self.cache, self.form = model_dir, cache, form
        self.pooling, self.own = batches.Pooling(model_dir), threading.local()
        self.config = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
                       "INFERENCE_PRECISION_HINT": "bf16" if form == "bf16" else "f32"}

    def file(self):
        if self.form != "int8":
            return exports.plain(self.model_dir, self.cache)
        return batches.made(self.cache / "openvino-int8", self.quantize) / "model.xml"

    def quantize(self, folder):
        import nncf
        model = openvino.Core().read_model(exports.plain(self.model_dir, self.cache))
        folder.mkdir(exist_ok=True)
        openvino.save_model(nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM),
                            folder / "model.xml", compress_to_fp16=False)

    def convert(self):
        self.file()

    def open(self):
        core = openvino.Core()
        self.model = core.compile_model(core.read_model(self.file()), "CPU", self.config)

    def prepare(self, texts, ids):
        return batches.prepare(ids)

    def encode(self, work):
        """Each calling thread has a request of its own, as OpenVINO asks for."""
        if not hasattr(self.own, "request"):
            self.own.request = self.model.create_infer_request()
        return self.pooling.vectors(work, lambda ids, mask: self.own.request.infer(
            {"input_ids": ids, "attention_mask": mask})[0])
