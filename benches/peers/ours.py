"""libbge by its C ABI."""

from libbge import Libbge


class Encoder:
    def __init__(self, model_dir, cache, threads, compute_type=0):
        self.model_dir, self.threads, self.compute_type = model_dir, threads, compute_type

    def convert(self):
        pass

    def open(self):
        self.model = Libbge(self.model_dir, self.threads, compute_type=self.compute_type)

    def prepare(self, texts, ids):
        return self.model.prepare(texts)

    def encode(self, texts):
        return self.model.encode(texts)
