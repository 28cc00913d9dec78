"""llama.cpp by llama-cpp-python."""

import llama_cpp
import numpy as np

from peers import batches

# Tokens of a batch. The longest text has to fit.
BATCH = 512


class Encoder:
    def __init__(self, model_dir, cache, threads, form="f32"):
        self.model_dir, self.threads, self.form = model_dir, threads, form
        self.path = cache / f"{form}.gguf"
        self.models = {}

    def convert(self):
        from peers import gguf_file
        batches.made(self.path, lambda part: gguf_file.write(self.model_dir, part, self.form))

    def open(self):
        self.model(BATCH)

    def model(self, batch):
        """Its batches are as long as it was opened for, so a longer text needs another."""
        if batch not in self.models:
            self.models[batch] = llama_cpp.Llama(
                str(self.path), embedding=True, n_ctx=batch, n_batch=batch, n_ubatch=batch,
                n_threads=self.threads, n_threads_batch=self.threads, verbose=False)
        return self.models[batch]

    def prepare(self, texts, ids):
        return self.model(max(BATCH, max(map(len, ids)))), texts

    def encode(self, work):
        model, texts = work
        return np.array(model.embed(texts, normalize=True), np.float32)
