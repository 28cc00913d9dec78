"""fastembed with the ONNX export of torch as a model of the user's own."""

import json

import numpy as np
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

from peers import batches, exports


class Encoder:
    def __init__(self, model_dir, cache, threads):
        self.model_dir, self.cache, self.threads = model_dir, cache, threads
        self.folder = cache / "fastembed"

    def convert(self):
        batches.made(self.folder, self.make)

    def make(self, folder):
        """The files that it asks for beside each other."""
        folder.mkdir(exist_ok=True)
        for file in exports.plain(self.model_dir, self.cache).parent.iterdir():
            (folder / file.name).symlink_to(file.resolve())
        for name in ("config.json", "tokenizer.json"):
            (folder / name).symlink_to((self.model_dir / name).resolve())
        limit = json.loads((self.model_dir / "sentence_bert_config.json").read_text())["max_seq_length"]
        marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>",
                 "pad_token": "<pad>", "cls_token": "<s>"}
        (folder / "special_tokens_map.json").write_text(json.dumps(marks))
        (folder / "tokenizer_config.json").write_text(json.dumps({**marks, "model_max_length": limit}))

    def open(self):
        config = json.loads((self.model_dir / "config.json").read_text())
        mean = batches.Pooling(self.model_dir).mean
        TextEmbedding.add_custom_model(
            model="own/model", pooling=PoolingType.MEAN if mean else PoolingType.CLS, normalization=True,
            sources=ModelSource(hf="own/model"), dim=config["hidden_size"], model_file="model.onnx")
        self.model = TextEmbedding("own/model", specific_model_path=str(self.folder),
                                   threads=self.threads)

    def prepare(self, texts, ids):
        return texts

    def encode(self, texts):
        return np.stack(list(self.model.embed(texts))).astype(np.float32)
