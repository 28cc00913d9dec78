"""Writes a directory as sentence-transformers does: weights as safetensors, and the small files.

Tensors come as `(name, shape, chunks)`, where `chunks()` gives the bytes piece by piece, so that
writing needs little memory whatever the size of the model.
"""
import json
import struct
import sys

# How `struct` packs a number; BF16 is not among what it knows.
PACK = {"F32": "f", "F16": "e", "BF16": None}
WIDTH = {"F32": 4, "F16": 2, "BF16": 2}
TORCH_NAME = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def pack(values, dtype):
    """The little-endian bytes of a list of numbers."""
    if dtype != "BF16":
        return struct.pack("<%d%s" % (len(values), PACK[dtype]), *values)
    bits = struct.unpack("<%dI" % len(values), pack(values, "F32"))
    # To the nearest, ties to even.
    return struct.pack(
        "<%dH" % len(values), *((b + 0x7FFF + ((b >> 16) & 1)) >> 16 for b in bits)
    )


def write_weights(folder, tensors, dtype, progress, shards=1):
    """Writes `model.safetensors`, or shards of about equal size and their index."""
    tensors = [(name, shape, size(shape) * WIDTH[dtype], chunks) for name, shape, chunks in tensors]
    total = sum(length for _, _, length, _ in tensors)
    parts = [[] for _ in range(shards)]
    before = 0
    for tensor in tensors:
        parts[before * shards // total].append(tensor)
        before += tensor[2]
    parts = [part for part in parts if part]
    names = ["model-%05d-of-%05d.safetensors" % (i + 1, len(parts)) for i in range(len(parts))]
    if len(parts) == 1:
        names = ["model.safetensors"]
    done = 0
    for name, part in zip(names, parts):
        with open(str(folder / name), "wb") as file:
            file.write(header(part, dtype))
            for tensor, _, length, chunks in part:
                written = 0
                for chunk in chunks():
                    file.write(chunk)
                    written += len(chunk)
                    progress(done + written, total)
                if written != length:
                    raise ValueError("%s: %d bytes, not %d" % (tensor, written, length))
                done += length
    if len(parts) > 1:
        places = {tensor[0]: name for name, part in zip(names, parts) for tensor in part}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        write_json(folder / "model.safetensors.index.json", index)


def size(shape):
    count = 1
    for n in shape:
        count *= n
    return count


def header(tensors, dtype):
    head = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape, length, _ in tensors:
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + length]}
        offset += length
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def xlm_roberta_config(hidden, layers, heads, intermediate, vocab, positions, epsilon):
    return {
        "architectures": ["XLMRobertaModel"],
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": intermediate,
        "layer_norm_eps": epsilon,
        "max_position_embeddings": positions,
        "model_type": "xlm-roberta",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "output_past": True,
        "pad_token_id": 1,
        "position_embedding_type": "absolute",
        "type_vocab_size": 1,
        "use_cache": True,
        "vocab_size": vocab,
    }


def write_configs(folder, config, dtype, cls):
    """Writes every small file, in the spelling of sentence-transformers 3."""
    longest = config["max_position_embeddings"] - 2
    write_json(folder / "config.json", dict(config, torch_dtype=TORCH_NAME[dtype]))
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write_json(
        folder / "modules.json",
        [
            {
                "idx": i,
                "name": str(i),
                "path": path,
                "type": "sentence_transformers.models." + kind,
            }
            for i, (path, kind) in enumerate(modules)
        ],
    )
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": config["hidden_size"],
            "pooling_mode_cls_token": cls,
            "pooling_mode_mean_tokens": not cls,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
            "pooling_mode_weightedmean_tokens": False,
            "pooling_mode_lasttoken": False,
            "include_prompt": True,
        },
    )
    write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False}
    )
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "__version__": {
                "sentence_transformers": "3.0.1",
                "transformers": "4.41.2",
                "pytorch": "2.3.0",
            },
            "prompts": {},
            "default_prompt_name": None,
            "similarity_fn_name": None,
        },
    )
    write_json(
        folder / "tokenizer_config.json",
        {
            "bos_token": "<s>",
            "clean_up_tokenization_spaces": True,
            "cls_token": "<s>",
            "eos_token": "</s>",
            "mask_token": "<mask>",
            "model_max_length": longest,
            "pad_token": "<pad>",
            "sep_token": "</s>",
            "tokenizer_class": "XLMRobertaTokenizer",
            "unk_token": "<unk>",
        },
    )


def cut_tokenizer(data, pieces):
    """The tokenizer.json with the four special tokens, the first `pieces` pieces and `<mask>`."""
    tokenizer = json.loads(data.decode())
    vocab = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = vocab[: 4 + pieces] + vocab[-1:]
    for token in tokenizer["added_tokens"]:
        if token["id"] == len(vocab) - 1:
            token["id"] = 4 + pieces
    return json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")).encode()


def highest_id(data):
    tokenizer = json.loads(data.decode())
    added = [token["id"] for token in tokenizer["added_tokens"]]
    return max(added + [len(tokenizer["model"]["vocab"]) - 1])


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


if sys.byteorder != "little":
    raise RuntimeError("the files are little-endian and copied as they are")
