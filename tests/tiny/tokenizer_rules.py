#!/usr/bin/env python3
"""Makes tokenizer_rules.json: what transformers before and since version 5 makes of the files of a tokenizer.

    python tokenizer_rules.py PYTHON_WITH_4 [PYTHON_WITH_4 ...] PYTHON_WITH_5

Each PYTHON has transformers (4.41.2, 4.57.6 and 5.23.0 made the file that is committed). A case is a folder: the files
of a model's tokenizer, given as changes to one under tests/tiny. Ids are those of AutoTokenizer, for texts that
sentence-transformers of the same time gave it: before 5.4 without white space around them. Where versions 4 differ from
each other the case is not written, and named.
"""

import base64
import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE / "tokenizer_rules.json"

SPACES = [*range(0x09, 0x0E), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
NOT_SPACES = [0x00, 0x01, 0x08, 0x1B, 0x7F, 0xAD, 0x301, 0x180E, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0x2581, 0x3164, 0xE000, 0xFEFF, 0xFFFD]
FORMS = ["{}", "a{}", "{}a", "a{}b", "a{}{}b", "a {} b", " {}", "{} "]
TOKENS = ["<s>", "</s>", "<pad>", "<unk>", "<mask>", "[CLS]", "[SEP]", "[MASK]"]
TOKEN_FORMS = ["{}", "a{}b", "a {} b", "a  {}  b", "{} a", "a {}", "a{} ", " {} ", "{}{}", "a {} {} b", "a\t{}\nb", "a\u3000{}\u3000b", "a\u200b{}\u200bb"]
SWEEP = [form.replace("{}", chr(c)) for c in SPACES + NOT_SPACES for form in FORMS]
SWEEP += [form.replace("{}", token) for token in TOKENS for form in TOKEN_FORMS]
FEW = [
    "", " ", "Orang-orang ada di luar.", "  spasi di tepi  ", "kata <mask> kata", "kata</s>kata<mask>", "rumah BPJS sakit", "BPJS BPJSx xBPJS",
    "ORANG Résumé", "a\tb\nc", "x </s> y ", "这是一个测试", "[MASK] a [SEP]", " depan", "di " * 40, "Ä ä İ ﬁ ﷺ", "<extra> x <extra>y", "unknown 😀 token",
]  # fmt: skip

BPJS = {"content": "BPJS", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": False}
XLMR = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 128}
BERT = {"tokenizer_class": "BertTokenizer", "model_max_length": 128}
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
GENERIC = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 128, **NAMES}


def case(name, base="tokenizer.json", model_type="xlm-roberta", config=None, edits=(), texts=FEW, **files):
    """`edits` are pointers into tokenizer.json with their new values; `files` are other files, `.` written as `_`."""
    config = XLMR if config is None else config
    return {"name": name, "base": base, "model_type": model_type, "tokenizer_config": config, "edits": list(edits), "files": files, "texts": texts}


def cases():
    charsmap = json.loads((HERE / "tokenizer.json").read_text())["normalizer"]["normalizers"][0]
    assert charsmap["type"] == "Precompiled"
    first = ["/normalizer/normalizers", "first"]
    strip = {"type": "Strip", "strip_left": False, "strip_right": True}
    collapse = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}
    meta = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    words = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, meta]}
    bert = {"base": "bert-uncased/tokenizer.json", "model_type": "bert"}
    yield case("plain", config={}, texts=SWEEP)
    yield case("xlm-roberta", config={**XLMR, **NAMES}, texts=SWEEP)
    yield case("xlm-roberta fast", config={**XLMR, **NAMES, "tokenizer_class": "XLMRobertaTokenizerFast"})
    yield case("bert model with its tokenizer", model_type="bert", config={**XLMR, **NAMES})
    yield case("generic", config=GENERIC, texts=SWEEP)
    yield case("backend", config={**GENERIC, "tokenizer_class": "TokenizersBackend"})
    yield case("saved by 4.41", edits=[["/normalizer/normalizers", [first, strip, collapse]]], texts=SWEEP)
    yield case("saved by 5", edits=[["/normalizer", first], ["/pre_tokenizer", words]], texts=SWEEP)
    yield case("no normalizer", edits=[["/normalizer", None]])
    yield case("lower case first", edits=[["/normalizer/normalizers", [{"type": "Lowercase"}, first, strip]]])
    yield case("no post-processor", edits=[["/post_processor", None]])
    yield case("no post-processor, generic", config=GENERIC, edits=[["/post_processor", None]])
    yield case("added tokens in the config", config={**XLMR, "added_tokens_decoder": {"1501": BPJS}})
    yield case("all added tokens in the config", config={**XLMR, **NAMES, "added_tokens_decoder": {
        "0": {**BPJS, "content": "<s>", "special": True}, "2": {**BPJS, "content": "</s>", "special": True, "rstrip": True},
        "1500": {**BPJS, "content": "<mask>", "special": True, "lstrip": True}, "1501": {**BPJS, "normalized": True, "single_word": True}}})
    yield case("added_tokens.json", added_tokens_json={"BPJS": 1501})
    yield case("added_tokens.json, two", added_tokens_json={"zBPJS": 1501, "BPJS": 1502})
    yield case("extra_special_tokens", config={**XLMR, "extra_special_tokens": ["BPJS"]})
    yield case("additional_special_tokens", config={**XLMR, "additional_special_tokens": ["BPJS", "<extra>"]})
    yield case("additional_special_tokens, generic", config={**GENERIC, "additional_special_tokens": ["BPJS", "<extra>"]})
    yield case("special_tokens_map", special_tokens_map_json={**NAMES, "additional_special_tokens": ["BPJS"]})
    yield case("special_tokens_map with flags", special_tokens_map_json={**NAMES, "mask_token": {
        "content": "<mask>", "lstrip": True, "normalized": True, "rstrip": False, "single_word": False}})
    yield case("special_tokens_map beside a decoder", config={**XLMR, "added_tokens_decoder": {"1501": BPJS}},
               special_tokens_map_json={"additional_special_tokens": ["<extra>"]})
    yield case("mask with flags", config={**XLMR, "mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "normalized": True, "rstrip": False, "single_word": False}})
    yield case("a mask of its own", config={**XLMR, "mask_token": "<extra>"})
    yield case("split_special_tokens", config={**XLMR, "split_special_tokens": True})
    yield case("add_prefix_space", config={**XLMR, "add_prefix_space": False})
    yield case("do_lower_case of XLM-R", config={**XLMR, "do_lower_case": True})
    yield case("truncation and padding left", config={**XLMR, "truncation_side": "left", "padding_side": "left", "model_max_length": 9})
    yield case("truncation left in the file", config={**XLMR, "model_max_length": 9},
               edits=[["/truncation", {"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0}]])
    yield case("camembert", model_type="camembert", config={"tokenizer_class": "CamembertTokenizer", "model_max_length": 128})
    yield case("bert", config=BERT, texts=SWEEP, **bert)
    yield case("bert, plain", config={}, **bert)
    yield case("bert cased", base="bert-cased/tokenizer.json", model_type="bert", config={**BERT, "do_lower_case": False})
    yield case("bert, cased by the config alone", config={**BERT, "do_lower_case": False}, **bert)
    yield case("bert, accents", config={**BERT, "strip_accents": False, "tokenize_chinese_chars": False}, **bert)
    yield case("bert, text not cleaned", config=BERT, edits=[["/normalizer/clean_text", False]], **bert)
    yield case("bert, short words", config=BERT, edits=[["/model/max_input_chars_per_word", 4]], **bert)
    yield case("bert, split_special_tokens", config={**BERT, "split_special_tokens": True}, **bert)
    yield case("bert, no post-processor", config=BERT, edits=[["/post_processor", None]], **bert)
    yield case("bert, added", config={**BERT, "additional_special_tokens": ["BPJS"]}, **bert)
    yield case("distilbert", config={**BERT, "tokenizer_class": "DistilBertTokenizerFast"}, **bert)
    yield case("vocab.txt", base="vocab.txt", model_type="bert", config=BERT, texts=SWEEP)
    yield case("vocab.txt cased", base="vocab.txt", model_type="bert", config={**BERT, "do_lower_case": False})
    yield case("sentencepiece", base="sentencepiece.bpe.model", config={**XLMR, **NAMES}, texts=SWEEP)
    yield case("sentencepiece, plain", base="sentencepiece.bpe.model", config={})
    yield case("sentencepiece, added", base="sentencepiece.bpe.model", config={**XLMR, "additional_special_tokens": ["BPJS"]},
               special_tokens_map_json=NAMES)
    yield case("sentencepiece, camembert", base="sentencepiece.bpe.model", model_type="camembert", config={"tokenizer_class": "CamembertTokenizer"})


def write_sentencepiece(path):
    """The pieces and the character map of tokenizer.json, as SentencePiece would have trained them."""
    from sentencepiece import sentencepiece_model_pb2

    base = json.loads((HERE / "tokenizer.json").read_text())
    model = sentencepiece_model_pb2.ModelProto()
    for piece, score, kind in [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), *((*piece, 1) for piece in base["model"]["vocab"][4:-1])]:
        model.pieces.add(piece=piece, score=score, type=kind)
    model.trainer_spec.model_type = 1
    model.trainer_spec.unk_id, model.trainer_spec.bos_id, model.trainer_spec.eos_id, model.trainer_spec.pad_id = 0, 1, 2, -1
    model.normalizer_spec.precompiled_charsmap = base64.b64decode(base["normalizer"]["normalizers"][0]["precompiled_charsmap"])
    path.write_bytes(model.SerializeToString())


def write(case, folder):
    """The folder of a case, as the test in Rust writes it, too."""
    folder.mkdir()
    if case["base"].endswith("tokenizer.json"):
        base = json.loads((HERE / case["base"]).read_text())
        first = copy.deepcopy((base["normalizer"] or {}).get("normalizers", [None])[0])
        for pointer, value in case["edits"]:
            *path, last = pointer.strip("/").split("/")
            at = base
            for key in path:
                at = at[key]
            at[last] = put_first(value, first)
        (folder / "tokenizer.json").write_text(json.dumps(base))
    elif case["base"] == "vocab.txt":
        vocab = json.loads((HERE / "bert-uncased/tokenizer.json").read_text())["model"]["vocab"]
        (folder / "vocab.txt").write_text("\n".join(sorted(vocab, key=vocab.get)) + "\n")
    else:
        shutil.copy(HERE / case["base"], folder / case["base"])
    (folder / "config.json").write_text(json.dumps({"model_type": case["model_type"], "vocab_size": 1510}))
    if case["tokenizer_config"]:
        (folder / "tokenizer_config.json").write_text(json.dumps(case["tokenizer_config"]))
    for name, value in case["files"].items():
        (folder / (name.removesuffix("_json") + ".json")).write_text(json.dumps(value))


def put_first(value, first):
    """The character map is long; a case says "first" for it."""
    if isinstance(value, list):
        return first if value == ["/normalizer/normalizers", "first"] else [put_first(item, first) for item in value]
    return value


IDS = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import transformers
from transformers import AutoTokenizer
transformers.utils.logging.set_verbosity_error()
old = int(transformers.__version__.split(".")[0]) < 5
out = {"version": transformers.__version__, "ids": []}
for folder, texts in json.load(open(sys.argv[1])):
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        longest = min(tokenizer.model_max_length, 128)
        ids = [tokenizer(text.strip() if old else text, truncation="longest_first", max_length=longest)["input_ids"] for text in texts]
    except Exception as e:
        ids = f"{type(e).__name__}: {str(e)[:200]}"
    out["ids"].append(ids)
json.dump(out, open(sys.argv[2], "w"))
"""


def ids_by(python, folders, work):
    (work / "in.json").write_text(json.dumps(folders))
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    subprocess.run([python, "-P", "-c", IDS, work / "in.json", work / "out.json"], check=True, env=quiet)
    return json.loads((work / "out.json").read_text())


def main(pythons, out=OUT, all_cases=None):
    all_cases = list(cases()) if all_cases is None else all_cases
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        folders = []
        for index, one in enumerate(all_cases):
            write(one, work / str(index))
            folders.append([str(work / str(index)), one["texts"]])
        answers = [ids_by(python, folders, work) for python in pythons]
    *old, new = answers
    kept = []
    for index, one in enumerate(all_cases):
        before, since = [answer["ids"][index] for answer in old], new["ids"][index]
        for ids in [*before, since]:
            if isinstance(ids, str):
                print(f"{one['name']}: {ids}", file=sys.stderr)
        if any(ids != before[0] for ids in before):
            print(f"{one['name']}: versions 4 differ", file=sys.stderr)
            before = [None]
        keep = lambda ids: ids if isinstance(ids, list) else None
        kept.append({**one, "before_5": keep(before[0]), "since_5": keep(since)})
    lines = ",\n".join(json.dumps(one, ensure_ascii=True) for one in kept)
    versions = json.dumps([answer["version"] for answer in answers])
    out.write_text(f'{{"transformers": {versions}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    if not (HERE / "sentencepiece.bpe.model").exists():
        write_sentencepiece(HERE / "sentencepiece.bpe.model")
    main(sys.argv[1:])
