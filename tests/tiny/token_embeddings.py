#!/usr/bin/env python3
"""Writes what sentence-transformers gives as token embeddings for a tiny model.

    pip install -r requirements.txt
    python token_embeddings.py

The model is one that make.py made; run this after it. Texts on whose ids transformers and the
file's own pipeline do not agree are not taken: see make.py.
"""

import json
import shutil
import tempfile

import tokenizers
from sentence_transformers import SentenceTransformer

from make import HERE, TOKENIZER, write_versions

# It scales its vectors to length 1, which must not touch these.
FOLDER = HERE / "v6"
MAX_TOKENS = 128
TEXTS = ["", "a", "Orang-orang ada di luar.", "seorang pria di jalan", "a b c"]


def main():
    tokenizer = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    tokenizer.no_truncation()
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(FOLDER, copy, dirs_exist_ok=True)
        model = SentenceTransformer(copy, device="cpu").eval()
    rows = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        assert model.tokenizer(text)["input_ids"] == ids, text
        vectors = model.encode([text], output_value="token_embeddings", normalize_embeddings=True)[0]
        assert vectors.shape == (len(ids), 32)
        rows.append({"text": text, "tokens": [[float(f"{x:.9g}") for x in row] for row in vectors.tolist()]})
    lines = ",\n".join(json.dumps(row) for row in rows)
    (HERE / "token_embeddings.json").write_text(f"[\n{lines}\n]\n")
    write_versions()


if __name__ == "__main__":
    main()
