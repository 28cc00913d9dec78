#!/usr/bin/env python3
"""Makes the tiny model with heads, and what FlagEmbedding computes with it.

    pip install -r requirements.txt FlagEmbedding==1.4.2
    python heads.py

Run make.py first, which makes the tokenizer. The heads in other forms go to `heads-forms`.

All texts go to BGEM3FlagModel.encode in one call, in fp32, on the CPU. FlagEmbedding takes the
tokenizer that transformers gives it, and transformers 5 would make a pipeline of its own for
XLM-RoBERTa; told to take the class PreTrainedTokenizerFast, it keeps that of the file, as
transformers 4 does for bge-m3. That the ids are those of the file is checked here.
"""

import copy
import json
import shutil
import tempfile

import tokenizers
import torch
from FlagEmbedding import BGEM3FlagModel
from safetensors.torch import save_file
from transformers import XLMRobertaModel

from make import HERE, TEXTS, TOKENIZER, dump, random_model, text_of, write_versions

FOLDER = HERE / "heads"
FORMS = HERE / "heads-forms"
HEADS = ["sparse_linear", "colbert_linear"]
HIDDEN = 32
MULTI_DIM = 8
MAX_TOKENS = 128
EOS = 2
MORE_TEXTS = [
    "di di luar di luar",
    "orang orang orang",
    "a<pad>a</s>a<unk>a<s>a<mask>a",
    "</s></s> <pad>",
]
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def save():
    for folder in [FOLDER, FORMS]:
        shutil.rmtree(folder, ignore_errors=True)
    shape = {"hidden_size": HIDDEN, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 64,
             "max_position_embeddings": MAX_TOKENS + 2}
    random_model(XLMRobertaModel, shape, seed=11).save_pretrained(FOLDER)
    layers = [torch.nn.Linear(HIDDEN, 1), torch.nn.Linear(HIDDEN, MULTI_DIM)]
    with torch.no_grad():
        for weight in [weight for layer in layers for weight in layer.parameters()]:
            weight.copy_(0.3 * torch.randn_like(weight))
    for name, layer in zip(HEADS, layers):
        save_file(layer.state_dict(), FOLDER / f"{name}.safetensors")
        for form, dtype in DTYPES.items():
            tensors = copy.deepcopy(layer).to(dtype).state_dict()
            (FORMS / form).mkdir(parents=True, exist_ok=True)
            # As FlagEmbedding's trainer does.
            torch.save(tensors, FORMS / form / f"{name}.pt")
            if form != "f32":
                (FORMS / f"{form}-safetensors").mkdir(exist_ok=True)
                save_file(tensors, FORMS / f"{form}-safetensors" / f"{name}.safetensors")
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    dump(FOLDER / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(modules)])
    dump(FOLDER / "1_Pooling/config.json", {
        "word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    dump(FOLDER / "sentence_bert_config.json", {"max_seq_length": MAX_TOKENS, "do_lower_case": False})
    (FOLDER / "tokenizer.json").symlink_to("../tokenizer.json")
    # FlagEmbedding's own models are of a time when the file ran as it is.
    dump(FOLDER / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": MAX_TOKENS, "bos_token": "<s>",
        "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>",
        "unk_token": "<unk>", "mask_token": "<mask>"})


def flag_embedding(form, texts, ids):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
        shutil.copytree(FORMS / form, folder, dirs_exist_ok=True)
        model = BGEM3FlagModel(folder, use_fp16=False, devices="cpu", colbert_dim=MULTI_DIM)
    assert model.tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"] == ids
    return model.encode(texts, max_length=MAX_TOKENS, return_dense=True, return_sparse=True, return_colbert_vecs=True)


def golden(path, form, texts):
    tokenizer = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    tokenizer.no_truncation()
    whole = [tokenizer.encode(text).ids for text in texts]
    cut = [ids if len(ids) <= MAX_TOKENS else ids[:MAX_TOKENS - 1] + [EOS] for ids in whole]
    out = flag_embedding(form, texts, cut)
    number = lambda x: float(f"{float(x):.9g}")
    rows = [{"text": text, "ids": ids, "truncated": ids != all_ids,
             "dense": [number(x) for x in dense],
             "sparse": {token: number(x) for token, x in sorted(sparse.items(), key=lambda item: int(item[0]))},
             "multi": [[number(x) for x in row] for row in multi]}
            for text, ids, all_ids, dense, sparse, multi in zip(
                texts, cut, whole, out["dense_vecs"], out["lexical_weights"], out["colbert_vecs"])]
    lines = ",\n".join(json.dumps(row) for row in rows)
    path.write_text(f"[\n{lines}\n]\n")


def main():
    torch.set_num_threads(1)
    save()
    tokenizer = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    texts = TEXTS + MORE_TEXTS + [text_of(tokenizer, MAX_TOKENS), "Orang-orang ada di luar. " * 40]
    golden(FOLDER / "golden.json", "f32", texts)
    for form in ["f16", "bf16"]:
        golden(FORMS / form / "golden.json", form, MORE_TEXTS[:3])
    write_versions("FlagEmbedding")


if __name__ == "__main__":
    main()
