#!/usr/bin/env python3
"""Makes chains of modules over the tiny encoders, and what sentence-transformers computes with them.

    python modules.py

Run make.py first. A chain is a folder, cls or v6, with other files laid over it, which golden.json
lists: JSON files as text, weights as names of files beside it. There, "di * 200" is short for a text. What is over v6 was written by
sentence-transformers' own save(), what is over cls by hand, in the spelling of version 3.

Vectors are those of sentence-transformers' own modules on the ids that the file's tokenizer gives.
Where its encode() has the same ids, it has to give the same vectors, alone and in a padded batch.
"""

import json
import shutil
import tempfile
from pathlib import Path

import tokenizers
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Dropout, LayerNorm, Normalize, Pooling, Transformer
from sentence_transformers.util import truncate_embeddings
from torch import nn

from make import HERE, TOKENIZER, write_versions

FOLDER = HERE / "modules"
HIDDEN, MAX_TOKENS = 32, 128
TEXTS = ["Orang-orang ada di luar.", "", "di " * 200]
PROMPTS = {"query": "query: ", "short": "Q"}
FLAGS = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens", "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
         "weightedmean": "weightedmean_tokens", "lasttoken": "lasttoken"}
ACTIVATIONS = [nn.ELU, nn.GELU, nn.Identity, nn.LeakyReLU, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.Sigmoid, nn.SiLU,
               nn.Softplus, nn.Softsign, nn.Tanh]


def randomize(module):
    torch.manual_seed(21)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_((1.0 if name == "norm.weight" else 0.0) + 0.3 * torch.randn_like(weight))
    return module


def dense(columns=HIDDEN, rows=16, activation=nn.Tanh, **more):
    return randomize(Dense(columns, rows, activation_function=activation(), **more))


def layer_norm(dim):
    return randomize(LayerNorm(dim))


def tree(path):
    """The files of a model, those of the encoder and the tokenizer apart."""
    kept = {"model.safetensors", "config.json", "tokenizer.json", "README.md"}
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*"))
            if p.is_file() and str(p.relative_to(path)) not in kept and p.name != "golden.json"}


def laid_over(base, folder):
    """Of the files of a folder, those that the base does not have."""
    common = tree(HERE / base)
    return {name: content for name, content in tree(folder).items() if common.get(name) != content}


def saved(modules, **more):
    """Over v6, by save()."""
    with tempfile.TemporaryDirectory() as plain, tempfile.TemporaryDirectory() as out:
        shutil.copytree(HERE / "v6", plain, dirs_exist_ok=True)
        SentenceTransformer(modules=[Transformer(plain), *modules], device="cpu", **more).save(out, create_model_card=False)
        return "v6", laid_over("v6", Path(out))


def state(module, type=torch.float32):
    return {key: value.detach().to(type).contiguous() for key, value in module.state_dict().items()}


def written(modes, modules=(), include_prompt=None, flags=None, **files):
    """Over cls, by hand. A module is its class, its config, and a function that writes its weights."""
    with tempfile.TemporaryDirectory() as out:
        out = Path(out)
        chain = [("Transformer", ""), ("Pooling", "1_Pooling")]
        chain += [(kind, f"{i}_{kind}") for i, (kind, _, _) in enumerate(modules, 2)]
        pooling = {"word_embedding_dimension": HIDDEN}
        pooling |= {f"pooling_mode_{flag}": mode in modes for mode, flag in FLAGS.items()} if flags is None else flags
        pooling |= {} if include_prompt is None else {"include_prompt": include_prompt}
        files = {name.replace("__", "/") + ".json": content for name, content in files.items()}
        files |= {"1_Pooling/config.json": pooling, "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(chain)]}
        for i, (kind, config, write) in enumerate(modules, 2):
            (out / f"{i}_{kind}").mkdir()
            if config is not None:
                files[f"{i}_{kind}/config.json"] = config
            if write is not None:
                write(out / f"{i}_{kind}")
        for name, content in files.items():
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_text(json.dumps(content))
        return "cls", laid_over("cls", out)


def dense_config(rows=16, activation="torch.nn.modules.activation.Tanh", **more):
    return {"in_features": HIDDEN, "out_features": rows, "bias": True, "activation_function": activation, **more}


def bin_of(module, type=torch.float32):
    return lambda folder: torch.save(state(module, type), folder / "pytorch_model.bin")


def safetensors_of(module, type=torch.float32):
    return lambda folder: save_file(state(module, type), folder / "model.safetensors")


def prompted(prompts=PROMPTS, **more):
    return {"prompts": prompts, "default_prompt_name": None, "__version__": {"sentence_transformers": "3.0.1"}, **more}


def swallowed(tokenizer):
    """A prompt and a text that together have so few tokens that every row is one of the prompt's."""
    count = lambda text: len(tokenizer.encode(text).ids)
    for word in sorted(tokenizer.get_vocab()):
        for cut in range(2, len(word)):
            prompt, text = word[1:cut], word[cut:]
            if word[0] == "▁" and "▁" not in word[1:] and count(prompt) - 1 >= count(prompt + text):
                return prompt, text
    raise AssertionError("no such word")


def cases(tokenizer):
    """Name, base, files, and the calls: texts, prompt, truncate_dim, normalize."""
    plain, two = [(TEXTS, None, 0, False)], [(TEXTS[::2], None, 0, False)]
    every = list(FLAGS)
    for mode in every:
        yield f"legacy {mode}", *written([mode]), plain
        yield f"v6 {mode}", *saved([Pooling(HIDDEN, mode)]), two
    yield "legacy all modes", *written(every), plain
    yield "legacy no mode", *written([]), plain
    yield "legacy nothing said", *written([], flags={}), plain
    yield "v6 list in its order", *saved([Pooling(HIDDEN, ["lasttoken", "cls", "mean", "max"])]), plain
    for activation in ACTIVATIONS:
        yield f"dense {activation.__name__}", *saved([Pooling(HIDDEN, "cls"), dense(activation=activation)]), two
    yield "dense, old weights", *written(["cls"], [("Dense", dense_config(), bin_of(dense()))]), plain
    yield "dense, activation not said", *written(["cls"], [
        ("Dense", {"in_features": HIDDEN, "out_features": 16}, bin_of(dense()))]), plain
    yield "dense, activation exported", *written(["cls"], [
        ("Dense", dense_config(activation="torch.nn.GELU"), bin_of(dense()))]), plain
    for type in (torch.float16, torch.bfloat16):
        yield f"dense {type}", *written(["mean"], [("Dense", dense_config(), safetensors_of(dense(), type))]), two
        yield f"dense {type}, old", *written(["mean"], [("Dense", dense_config(), bin_of(dense(), type))]), two
    yield "dense without bias", *saved([Pooling(HIDDEN, "mean"), dense(bias=False)]), plain
    yield "dense, residual", *saved([Pooling(HIDDEN, "cls"), dense(rows=HIDDEN, use_residual=True)]), plain
    yield "dense, projected residual", *saved([Pooling(HIDDEN, "cls"), dense(use_residual=True)]), plain
    yield "two modes, dense", *saved([Pooling(HIDDEN, ["cls", "mean"]), dense(2 * HIDDEN, 24), Normalize()]), plain
    yield "dense, norm, normalize", *saved([Pooling(HIDDEN, "mean"), dense(), layer_norm(16), Normalize()]), plain
    yield "norm, dense, normalize", *saved([Pooling(HIDDEN, "mean"), layer_norm(HIDDEN), dense(), Normalize()]), plain
    yield "normalize, dense", *saved([Pooling(HIDDEN, "cls"), Normalize(), dense()]), plain
    yield "normalize, norm, dropout, dense", *saved([
        Pooling(HIDDEN, "cls"), Normalize(), layer_norm(HIDDEN), Dropout(0.5), dense(rows=8), dense(8, 12, nn.GELU)]), plain
    yield "legacy chain", *written(["mean"], [
        ("Dense", dense_config(), bin_of(dense())), ("LayerNorm", {"dimension": 16}, bin_of(layer_norm(16))),
        ("Dropout", {"dropout": 0.1}, None), ("Normalize", None, None)]), plain

    asked = [(TEXTS[:2], name, 0, False) for name in (None, *PROMPTS)]
    prompt, text = swallowed(tokenizer)
    left_out = prompted({**PROMPTS, "swallowed": prompt})
    yield "prompt left out", *written(every, include_prompt=False, config_sentence_transformers=left_out), asked
    # Without max, which is minus infinity here.
    modes = [mode for mode in every if mode != "max"]
    yield "prompt left out, all of it", *written(modes, include_prompt=False, config_sentence_transformers=left_out), [
        ([text], "swallowed", 0, False)]
    for mode in ("cls", "lasttoken"):
        yield f"prompt left out, {mode}", *written([mode], include_prompt=False, config_sentence_transformers=left_out), asked[1:2]
    yield "v6 prompt left out", *saved([Pooling(HIDDEN, "mean", include_prompt=False)], prompts={"short": "Q"},
                                       default_prompt_name="short"), [(TEXTS, None, 0, False)]

    cut = [(TEXTS[::2], None, *call) for call in ((0, False), (0, True), (8, False), (8, True), (20, False))]
    yield "cut by the call", *written(["cls"], [("Normalize", None, None)]), cut
    yield "cut by the model", *written(["cls"], [("Normalize", None, None)],
                                       config_sentence_transformers=prompted({}, truncate_dim=12)), cut
    yield "v6 cut by the model", *saved([Pooling(HIDDEN, "mean"), dense(rows=24)], truncate_dim=12), cut
    yield "cut to more than there is", *written(["cls"], config_sentence_transformers=prompted({}, truncate_dim=99)), plain

    yield "small letters", *written(["mean"], sentence_bert_config={"max_seq_length": MAX_TOKENS, "do_lower_case": True},
                                    config_sentence_transformers=prompted()), [
        (["ORANG-Orang ADA di LUAR.", "ΟΔΟΣ İ ẞ"], None, 0, False), (["Orang ADA"], "short", 0, False)]


def ids_of(tokenizer, text):
    ids = tokenizer.encode(text).ids
    return ids if len(ids) <= MAX_TOKENS else ids[:MAX_TOKENS - 1] + [2]


def vectors(model, tokenizer, call, lower_case):
    texts, name, dim, normalize = call
    prompts = model.prompts
    prompt = prompts.get(name or model.default_prompt_name, "")
    dim = dim or model.truncate_dim
    found, same = [], []
    for text in texts:
        whole = (prompt + text).lower() if lower_case else prompt + text
        ids = torch.tensor([ids_of(tokenizer, whole)])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if prompt:
            inputs["prompt_length"] = len(ids_of(tokenizer, prompt.strip())) - 1
            assert inputs["prompt_length"] == model[0]._get_prompt_length(prompt)
        with torch.no_grad():
            vector = truncate_embeddings(model(inputs)["sentence_embedding"], dim)
        found.append((torch.nn.functional.normalize(vector) if normalize else vector)[0])
        theirs = model[0].preprocess([text], prompt=prompt or None)["input_ids"]
        same.append(theirs.tolist() == ids.tolist())
    encoded = model.encode(texts, prompt_name=name, truncate_dim=dim, normalize_embeddings=normalize, convert_to_tensor=True)
    assert any(same) or lower_case
    for ours, batched, text, same in zip(found, encoded, texts, same):
        alone = model.encode([text], prompt_name=name, truncate_dim=dim, normalize_embeddings=normalize, convert_to_tensor=True)
        if same:
            torch.testing.assert_close(ours, alone[0], atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(ours, batched, atol=1e-5, rtol=1e-5)
    return found


def main():
    torch.set_num_threads(1)
    tokenizer = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    tokenizer.no_truncation()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    names = {}
    lines = []
    for name, base, files, calls in cases(tokenizer):
        said, weights = {}, {}
        for path, content in files.items():
            if path.endswith(".json"):
                said[path] = json.loads(content)
            else:
                # One copy of equal ones.
                weights[path] = names.setdefault(content, f"{len(names)}{Path(path).suffix}")
                (FOLDER / weights[path]).write_bytes(content)
        with tempfile.TemporaryDirectory() as copy:
            shutil.copytree(HERE / base, copy, dirs_exist_ok=True)
            for path, content in files.items():
                (Path(copy) / path).parent.mkdir(exist_ok=True)
                (Path(copy) / path).write_bytes(content)
            model = SentenceTransformer(copy, device="cpu").eval()
        rows = [{"texts": ["di * 200" if text == TEXTS[2] else text for text in texts], "prompt": prompt, "truncate_dim": dim, "normalize": normalize, "dense": [
                    [float(f"{x:.7g}") for x in vector.tolist()]
                    for vector in vectors(model, tokenizer, (texts, prompt, dim, normalize), name == "small letters")]}
                for texts, prompt, dim, normalize in calls]
        lines.append(json.dumps({"name": name, "base": base, "files": said, "weights": weights, "calls": rows}))
    (FOLDER / "golden.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
    write_versions()


if __name__ == "__main__":
    main()
