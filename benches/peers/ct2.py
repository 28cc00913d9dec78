"""CTranslate2's encoder, by its converter of transformers."""

import ctranslate2
import numpy as np

from peers import batches


class Encoder:
    def __init__(self, model_dir, cache, threads, compute_type="float32"):
        self.model_dir, self.threads, self.compute_type = model_dir, threads, compute_type
        self.folder = cache / "ctranslate2"
        self.pooling = batches.Pooling(model_dir)

    def convert(self):
        batches.made(self.folder, self.make)

    def make(self, folder):
        """A word table may have more rows than the tokenizer has tokens, and the converter wants names
        for all of them."""
        from ctranslate2.converters import TransformersConverter, transformers
        loader = transformers.XLMRobertaLoader
        names = loader.get_vocabulary
        loader.get_vocabulary = lambda self, model, tokenizer: [
            *(found := names(self, model, tokenizer)),
            *(f"<unused {id}>" for id in range(len(found), model.config.vocab_size))]
        TransformersConverter(str(self.model_dir)).convert(str(folder), force=True)

    def open(self):
        self.encoder = ctranslate2.Encoder(str(self.folder), device="cpu", inter_threads=1,
                                           intra_threads=self.threads, compute_type=self.compute_type)

    def prepare(self, texts, ids):
        """It takes lists without padding, and pads them itself."""
        return [(rows, [ids[row] for row in rows], mask) for rows, _, mask in batches.prepare(ids)]

    def encode(self, work):
        return self.pooling.vectors(
            work, lambda ids, mask: np.array(self.encoder.forward_batch(ids).last_hidden_state))
