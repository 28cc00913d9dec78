#!/usr/bin/env python3
"""Makes the tiny models that the tests run on, and what sentence-transformers computes with them.

    pip install -r requirements.txt
    python make.py TOKENIZER_JSON
    python make.py --goldens

TOKENIZER_JSON is the tokenizer.json of XLM-RoBERTa, or any other with its pipeline and its first
pieces; the first 1,500 are kept. Token ids in the golden files are those of the tokenizer that
sentence-transformers opens for the folder. Vectors are those of its own modules on these ids, in
fp32, one text at a time. With --goldens the models stay, and only that is computed anew.
"""

import hashlib
import json
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForMaskedLM, XLMRobertaModel

HERE = Path(__file__).resolve().parent
PIECES = 1500
TOKENIZER = HERE / "tokenizer.json"

TEXTS = [
    "",
    " ",
    "a",
    "Orang-orang ada di luar.",
    "Seorang pria bertopi biru berdiri di persimpangan jalan.",
    "这是一个文本向量化的测试句子",
    "هذا نص قصير",
    "👩‍👩‍👧‍👦 keluarga 🙂",
    "nul \0 inside",
    "trailing spaces   ",
    "a  b   c\nd\te",
    "literal <pad> and </s> and <mask> here",
    "ﬁne ＦＵＬＬ ｗｉｄｔｈ Å",
]
PROMPTS = {"query": "query: ", "passage": "passage: "}


def cut_tokenizer(source):
    """Keeps the first pieces and <mask>, which stays last."""
    full = json.loads(Path(source).read_text())
    pieces = full["model"]["vocab"]
    mask = next(piece for piece in pieces if piece[0] == "<mask>")
    full["model"]["vocab"] = [piece for piece in pieces if piece[0] != "<mask>"][:PIECES] + [mask]
    for token in full["added_tokens"]:
        if token["content"] == "<mask>":
            token["id"] = PIECES
    TOKENIZER.write_text(json.dumps(full, ensure_ascii=False, separators=(",", ":")))


def random_model(kind, shape, seed):
    torch.manual_seed(seed)
    config = XLMRobertaConfig(vocab_size=PIECES + 1, pad_token_id=1, bos_token_id=0, eos_token_id=2,
                              layer_norm_eps=1e-5, type_vocab_size=1, **shape)
    model = kind(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Far larger than a trained model's, so that texts and mistakes differ visibly.
            gain = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            weight.copy_(gain + 0.3 * torch.randn_like(weight))
    return model


def dump(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def save(name, shape, *, seed, pooling="cls", normalize=True, spelling="legacy", shard=None,
         kind=XLMRobertaModel, prompts=None, default_prompt=None):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model = random_model(kind, shape, seed)
    max_tokens = shape["max_position_embeddings"] - 2
    if spelling == "legacy":
        model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
        modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
        dump(folder / "modules.json", [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(modules[:3 if normalize else 2])])
        dump(folder / "1_Pooling/config.json", {
            "word_embedding_dimension": shape["hidden_size"],
            "pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False})
        dump(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False})
        dump(folder / "config_sentence_transformers.json", {
            "__version__": {"sentence_transformers": "3.0.1"}, "prompts": prompts or {},
            "default_prompt_name": default_prompt, "similarity_fn_name": None})
    else:
        with tempfile.TemporaryDirectory() as plain:
            model.save_pretrained(plain)
            fast = PreTrainedTokenizerFast(
                tokenizer_file=str(TOKENIZER), model_max_length=max_tokens, bos_token="<s>",
                eos_token="</s>", sep_token="</s>", cls_token="<s>", unk_token="<unk>",
                pad_token="<pad>", mask_token="<mask>")
            fast.save_pretrained(plain)
            transformer = Transformer(plain)
            modules = [transformer, Pooling(shape["hidden_size"], pooling)]
            SentenceTransformer(modules=modules + ([Normalize()] if normalize else []), device="cpu").save(
                str(folder), create_model_card=False)
    # One copy for all; saving would also have written its own version of it.
    (folder / "tokenizer.json").unlink(missing_ok=True)
    (folder / "tokenizer.json").symlink_to("../tokenizer.json")
    golden(folder, max_tokens, prompts or {}, default_prompt)


def text_of(tokenizer, tokens):
    text = " ".join(["di"] * (tokens - 2))
    assert len(tokenizer.encode(text).ids) == tokens
    return text


def golden(folder, max_tokens, prompts, default_prompt):
    # The modules, loaded by sentence-transformers itself; a copy, since it wants a real file.
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        model = SentenceTransformer(copy, device="cpu").eval()
    tokenizer = model.tokenizer.backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    cases = [(text, None) for text in TEXTS]
    cases += [(text_of(tokenizer, max_tokens + more), None) for more in (-1, 0, 1, 300)]
    cases += [(text, name) for name in prompts for text in TEXTS[3:5]]
    rows = []
    for text, prompt in cases:
        used = prompts.get(prompt or default_prompt, "")
        ids = tokenizer.encode(used + text).ids
        truncated = len(ids) > max_tokens
        if truncated:
            ids = ids[:max_tokens - 1] + [2]
        with torch.no_grad():
            inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
            vector = model(inputs)["sentence_embedding"][0]
        rows.append({"text": text, "prompt": prompt, "ids": ids, "truncated": truncated,
                     "dense": [float(f"{x:.9g}") for x in vector.tolist()]})
    lines = ",\n".join(json.dumps(row) for row in rows)
    (folder / "golden.json").write_text(f"[\n{lines}\n]\n")


def main():
    torch.set_num_threads(1)
    cut_tokenizer(sys.argv[1])
    base = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2,
            "intermediate_size": 64, "max_position_embeddings": 130}
    save("cls", base, seed=1)
    save("v6", base, seed=2, spelling="current")
    save("v6-mean", {**base, "hidden_size": 24}, seed=3, spelling="current", pooling="mean", normalize=False)
    save("sharded", base, seed=4, shard="100KB")
    save("prefixed", base, seed=5, kind=XLMRobertaForMaskedLM)
    save("mean", {**base, "hidden_size": 15, "num_attention_heads": 3, "num_hidden_layers": 1,
                  "intermediate_size": 20}, seed=6, pooling="mean", normalize=False)
    save("deep", {**base, "hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 5,
                  "intermediate_size": 48}, seed=7)
    save("long", {**base, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32,
                  "max_position_embeddings": 514}, seed=8, pooling="mean")
    save("prompts", {**base, "hidden_size": 16}, seed=9, prompts=PROMPTS)
    save("default-prompt", {**base, "hidden_size": 16}, seed=10, prompts=PROMPTS, default_prompt="query")
    write_versions()


def goldens():
    for name in ["cls", "v6", "v6-mean", "sharded", "prefixed", "mean", "deep", "long", "prompts", "default-prompt"]:
        said = json.loads((HERE / name / "config_sentence_transformers.json").read_text())
        longest = json.loads((HERE / name / "config.json").read_text())["max_position_embeddings"] - 2
        prompts = {key: text for key, text in said["prompts"].items() if text}
        golden(HERE / name, longest, prompts, said["default_prompt_name"])
    write_versions()


def write_versions(*more):
    packages = ["torch", "transformers", "sentence-transformers", "tokenizers", "safetensors", *more]
    before = json.loads((HERE / "VERSIONS.json").read_text())["packages"]
    endings = {".safetensors", ".json", ".bin", ".pt"}
    files = sorted(p for p in HERE.rglob("*") if p.suffix in endings and not p.is_symlink())
    dump(HERE / "VERSIONS.json", {
        "packages": before | {name: version(name) for name in packages},
        "sha256": {str(p.relative_to(HERE)): hashlib.sha256(p.read_bytes()).hexdigest()
                   for p in files if p.name != "VERSIONS.json"},
    })


if __name__ == "__main__":
    goldens() if sys.argv[1:] == ["--goldens"] else main()
