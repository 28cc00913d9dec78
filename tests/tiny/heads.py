#!/usr/bin/env python3
"""Makes the tiny model with heads, and what FlagEmbedding's formulas give for it.

    python heads.py

Run make.py first, which makes the tokenizer. The formulas are written out here, in fp32, one text
at a time, as FlagEmbedding 1.4.2 has them in finetune/embedder/encoder_only/m3/modeling.py and
inference/embedder/encoder_only/m3.py.
"""

import json
import shutil

import tokenizers
import torch
from safetensors.torch import save_file
from transformers import XLMRobertaModel

from make import HERE, TEXTS, TOKENIZER, dump, random_model, text_of, write_versions

FOLDER = HERE / "heads"
HIDDEN = 32
MULTI_DIM = 8
MAX_TOKENS = 128
BOS, PAD, EOS, UNK = 0, 1, 2, 3
MORE_TEXTS = [
    "di di luar di luar",
    "orang orang orang",
    "a<pad>a</s>a<unk>a<s>a<mask>a",
    "</s></s> <pad>",
]


def save():
    shutil.rmtree(FOLDER, ignore_errors=True)
    shape = {"hidden_size": HIDDEN, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 64,
             "max_position_embeddings": MAX_TOKENS + 2}
    model = random_model(XLMRobertaModel, shape, seed=11)
    model.save_pretrained(FOLDER)
    sparse = torch.nn.Linear(HIDDEN, 1)
    multi = torch.nn.Linear(HIDDEN, MULTI_DIM)
    with torch.no_grad():
        for weight in [*sparse.parameters(), *multi.parameters()]:
            weight.copy_(0.3 * torch.randn_like(weight))
    for name, layer in [("sparse_linear", sparse), ("colbert_linear", multi)]:
        save_file({key: value.contiguous() for key, value in layer.state_dict().items()},
                  FOLDER / f"{name}.safetensors")
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    dump(FOLDER / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(modules)])
    dump(FOLDER / "1_Pooling/config.json", {
        "word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    dump(FOLDER / "sentence_bert_config.json", {"max_seq_length": MAX_TOKENS, "do_lower_case": False})
    (FOLDER / "tokenizer.json").symlink_to("../tokenizer.json")
    return model, sparse, multi


def lexical_weights(ids, weights):
    """m3.py, _process_token_weights."""
    best = {}
    for token, weight in zip(ids, weights):
        if token not in {BOS, EOS, PAD, UNK} and weight > 0:
            best[token] = max(weight, best.get(token, 0.0))
    return best


def main():
    torch.set_num_threads(1)
    model, sparse, multi = save()
    tokenizer = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    tokenizer.no_truncation()
    texts = TEXTS + MORE_TEXTS + [text_of(tokenizer, MAX_TOKENS), "Orang-orang ada di luar. " * 40]
    rows = []
    for text in texts:
        ids = tokenizer.encode(text).ids
        truncated = len(ids) > MAX_TOKENS
        if truncated:
            ids = ids[:MAX_TOKENS - 1] + [EOS]
        mask = torch.ones(1, len(ids), dtype=torch.long)
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([ids]), attention_mask=mask).last_hidden_state
            dense = torch.nn.functional.normalize(hidden[:, 0], dim=-1)
            weights = torch.relu(sparse(hidden))[0, :, 0].tolist()
            vectors = multi(hidden[:, 1:]) * mask[:, 1:][:, :, None].float()
            vectors = torch.nn.functional.normalize(vectors, dim=-1)[0][:int(mask.sum()) - 1]
        number = lambda x: float(f"{x:.9g}")
        rows.append({"text": text, "ids": ids, "truncated": truncated,
                     "dense": [number(x) for x in dense[0].tolist()],
                     "sparse": {token: number(x) for token, x in sorted(lexical_weights(ids, weights).items())},
                     "multi": [[number(x) for x in row] for row in vectors.tolist()]})
    lines = ",\n".join(json.dumps(row) for row in rows)
    (FOLDER / "golden.json").write_text(f"[\n{lines}\n]\n")
    write_versions()


if __name__ == "__main__":
    main()
