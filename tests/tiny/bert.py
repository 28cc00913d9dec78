#!/usr/bin/env python3
"""Makes the tiny BERT models, and what sentence-transformers computes with them.

    python bert.py

Run make.py first. Ids and vectors are those of sentence-transformers as it loads the directory; the
ids are compared with those of the library `tokenizers` on the file as it is.
"""

import json
import shutil
import tempfile

import tokenizers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizer

from make import HERE, TEXTS, dump, write_versions

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# In the order of BERT's own vocabulary, where words of no use yet stand between the first two.
FIRST = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["di luar jalan the a un able ing believe haha orang Orang Seorang"]
MORE_TEXTS = [
    "Crème brûlée, naïve façade; ÅNGSTRÖM E\u0301tude",
    "日本語と中文 mixed中with words",
    "한국어 \u1112\u1161\u11ab",
    "literal [PAD] and [SEP] and [MASK] [unused0] [mask] x[MASK]y",
    "control\u0001 \u200bzero\u00adwidth\ufffd \u00a0space\u3000wide",
    "unbelievably embeddings ##ing un##able",
    "x" * 100 + " " + "x" * 101,
    "🙂 İstanbul ΣΊΣΥΦΟΣ ẞ",
    "don't stop-me... (now)!",
]
MAX_TOKENS = 64


def make_tokenizer(file, lowercase):
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    divider = pre_tokenizers.BertPreTokenizer()
    words = [word for text in WORDS + TEXTS + MORE_TEXTS
             for word, _ in divider.pre_tokenize_str(normalizer.normalize_str(text))]
    # Characters of few scripts, so that others are unknown, and beginnings, ends and short words.
    known = [c for word in words for c in word if c < "\u2000" or c in "这是中文日本語。"]
    short = [word for word in words if 1 < len(word) <= 5] + [word[:3] for word in words if len(word) > 5]
    ends = [word[3:] for word in words if 5 < len(word) <= 12]
    pieces = sorted({*known, *short}) + sorted({"##" + piece for piece in known + ends})
    vocab = {piece: id for id, piece in enumerate(FIRST + pieces)}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, divider
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])])
    tokenizer.add_special_tokens(SPECIAL)
    # Many files have this setting; a caller who encodes has to undo it.
    tokenizer.enable_truncation(32)
    tokenizer.enable_padding(length=32)
    tokenizer.save(str(file), pretty=False)
    return vocab


def random_model(kind, vocab, seed, **shape):
    torch.manual_seed(seed)
    model = kind(BertConfig(vocab_size=vocab, num_hidden_layers=2, **shape)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Far larger than a trained model's, so that texts and mistakes differ visibly.
            gain = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            weight.copy_(gain + 0.3 * torch.randn_like(weight))
    return model


def legacy(folder):
    """As all-MiniLM-L6-v2 lies on the hub: mean, normalized, cut before the position table ends."""
    vocab = make_tokenizer(folder / "tokenizer.json", lowercase=True)
    random_model(BertModel, len(vocab), 21, hidden_size=24, num_attention_heads=3, intermediate_size=48,
                 max_position_embeddings=2 * MAX_TOKENS).save_pretrained(folder)
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    dump(folder / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(modules)])
    dump(folder / "1_Pooling/config.json", {
        "word_embedding_dimension": 24, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False})
    dump(folder / "sentence_bert_config.json", {"max_seq_length": MAX_TOKENS, "do_lower_case": False})
    dump(folder / "tokenizer_config.json", {
        "do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None,
        "tokenizer_class": "BertTokenizer", "model_max_length": 2 * MAX_TOKENS})


def current(folder):
    """As version 6 saves: cls, keys with a prefix, cut where the position table ends, compared by
    the dot product."""
    with tempfile.TemporaryDirectory() as plain:
        vocab = make_tokenizer(f"{plain}/tokenizer.json", lowercase=False)
        model = random_model(BertForMaskedLM, len(vocab), 22, hidden_size=32, num_attention_heads=4,
                             intermediate_size=40, max_position_embeddings=MAX_TOKENS)
        model.save_pretrained(plain)
        BertTokenizer(vocab, do_lower_case=False, model_max_length=MAX_TOKENS).save_pretrained(plain)
        modules = [Transformer(plain), Pooling(32, "cls")]
        SentenceTransformer(modules=modules, similarity_fn_name="dot", device="cpu").save(
            str(folder), create_model_card=False)
        # Saving the modules drops the head, and with it the prefix.
        shutil.copy(f"{plain}/model.safetensors", folder / "model.safetensors")


def golden(folder):
    model = SentenceTransformer(str(folder), device="cpu").eval()
    file = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    file.no_truncation()
    file.no_padding()
    texts = TEXTS + MORE_TEXTS
    texts += [" ".join(["di"] * (MAX_TOKENS - 2 + more)) for more in (-1, 0, 1, 300)]
    rows = []
    for text in texts:
        ids = model.tokenize([text])["input_ids"][0].tolist()
        whole = file.encode(text).ids
        truncated = len(whole) > MAX_TOKENS
        assert ids == (whole[:MAX_TOKENS - 1] + whole[-1:] if truncated else whole), text
        vector = model.encode([text])[0]
        rows.append({"text": text, "prompt": None, "ids": ids, "truncated": truncated,
                     "dense": [float(f"{x:.9g}") for x in vector.tolist()]})
    assert max(len(row["ids"]) for row in rows) == MAX_TOKENS
    lines = ",\n".join(json.dumps(row) for row in rows)
    (folder / "golden.json").write_text(f"[\n{lines}\n]\n")


def main():
    torch.set_num_threads(1)
    for name, save in [("bert-uncased", legacy), ("bert-cased", current)]:
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        save(folder)
        golden(folder)
    write_versions()


if __name__ == "__main__":
    main()
