"""A sentence-transformers directory of XLM-RoBERTa as a GGUF file, as llama.cpp's own converter, which
is in no package, would write it."""

import base64
import json

import gguf
from safetensors.numpy import load_file


def write(model_dir, path, form):
    read = lambda name: json.loads((model_dir / name).read_text())
    config = read("config.json")
    # Positions begin behind that of padding; the rows before it are never used.
    first_position = config["pad_token_id"] + 1
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name(model_dir.name)
    writer.add_context_length(config["max_position_embeddings"] - first_position)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    mean = read("1_Pooling/config.json")["pooling_mode_mean_tokens"]
    writer.add_pooling_type(gguf.PoolingType.MEAN if mean else gguf.PoolingType.CLS)
    types = {"f32": gguf.GGMLQuantizationType.F32, "q8_0": gguf.GGMLQuantizationType.Q8_0}
    writer.add_file_type({"f32": gguf.LlamaFileType.ALL_F32, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}[form])
    add_vocabulary(writer, read("tokenizer.json"), config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config["num_hidden_layers"])
    for name, tensor in load_file(model_dir / "model.safetensors").items():
        if "pooler" in name or name.endswith("position_ids"):
            continue
        if name == "embeddings.position_embeddings.weight":
            tensor = tensor[first_position:]
        to = names.get_name(name, try_suffixes=(".weight", ".bias"))
        keep = tensor.ndim == 1 or to.startswith(("position_embd", "token_types"))
        kind = types["f32" if keep else form]
        writer.add_tensor(to, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_vocabulary(writer, tokenizer, config):
    pieces = tokenizer["model"]["vocab"]
    special = {token["id"] for token in tokenizer["added_tokens"]}
    unknown = tokenizer["model"]["unk_id"]
    kind = lambda id: (gguf.TokenType.UNKNOWN if id == unknown else
                       gguf.TokenType.CONTROL if id in special else gguf.TokenType.NORMAL)
    missing = range(len(pieces), config["vocab_size"])
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([piece.encode() for piece, _ in pieces] + [b"[PAD%d]" % id for id in missing])
    writer.add_token_scores([score for _, score in pieces] + [-1000.0 for _ in missing])
    writer.add_token_types([*map(kind, range(len(pieces))), *(gguf.TokenType.UNUSED for _ in missing)])
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(True)
    writer.add_token_type_count(config.get("type_vocab_size", 1))
    steps = tokenizer["normalizer"]
    for step in steps.get("normalizers", [steps]):
        if step["type"] == "Precompiled":
            writer.add_precompiled_charsmap(base64.b64decode(step["precompiled_charsmap"]))
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_sep_token_id(config["eos_token_id"])
    writer.add_unk_token_id(unknown)
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
