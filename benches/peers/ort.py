"""onnxruntime on an ONNX export."""

import onnxruntime

from peers import batches, exports


class Encoder:
    def __init__(self, model_dir, cache, threads, form="plain"):
        self.file = lambda: getattr(exports, form)(model_dir, cache)
        self.pooling, self.threads = batches.Pooling(model_dir), threads

    def convert(self):
        self.file()

    def open(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(str(self.file()), options,
                                                    providers=["CPUExecutionProvider"])

    def prepare(self, texts, ids):
        return batches.prepare(ids)

    def encode(self, work):
        return self.pooling.vectors(work, lambda ids, mask: self.session.run(
            None, {"input_ids": ids, "attention_mask": mask})[0])
