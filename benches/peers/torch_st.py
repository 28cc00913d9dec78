"""sentence-transformers with torch."""

import torch
from sentence_transformers import SentenceTransformer


class Encoder:
    def __init__(self, model_dir, cache, threads):
        self.model_dir = model_dir
        torch.set_num_threads(threads)

    def convert(self):
        pass

    def open(self):
        self.model = SentenceTransformer(str(self.model_dir), device="cpu")

    def prepare(self, texts, ids):
        return texts

    def encode(self, texts):
        return self.model.encode(texts, batch_size=32, show_progress_bar=False)
