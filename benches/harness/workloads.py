"""The texts that are encoded, with the ids of their tokens."""

import hashlib
import json
import math
import random
from dataclasses import dataclass, field
from pathlib import Path

# How many tokens a text has, and how many such texts, in a model of the size of
# multilingual-e5-small. Larger models get fewer.
LENGTHS = {16: 64, 32: 64, 128: 32, 512: 16, 2048: 2, 8192: 1}
CALLERS = (1, 4, 16, 64)


@dataclass
class Workload:
    """`kind`: "bulk", all texts in one call; "query", one text a call, from one thread;
    "callers", the same from `callers` threads; "memory", a process that opens and encodes once."""

    name: str
    kind: str
    lengths: list
    callers: int = 1
    words: list = field(default_factory=list)

    def texts(self):
        return [" ".join(word for word, _ in body) for body in self.words]

    def ids(self):
        return [[0, *(id for _, id in body), 2] for body in self.words]

    def tokens(self):
        return sum(self.lengths)

    def alone(self):
        """Whether a process does this and nothing else, while no other is open: to measure its
        memory, or because a long text may need a lot of it."""
        return self.kind == "memory" or max(self.lengths) > 4096

    def digest(self):
        """Changes with the texts, so that results of others are not taken for its own."""
        return digest([self.kind, self.callers, self.words])


def digest(data):
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:12]


def workloads(model_dir, scale, names):
    """Those of `names`, or all of them, that the model's length allows."""
    dice = random.Random(7)
    limit = json.loads((model_dir / "sentence_bert_config.json").read_text())["max_seq_length"]
    of = lambda count: max(1, round(count * scale))
    mixed = [min(512, limit, max(5, round(dice.lognormvariate(4.0, 1.0)))) for _ in range(256)]
    queries = [dice.randint(8, 16) for _ in range(16)]
    made = [Workload("query", "query", queries)]
    made += [Workload(str(length), "bulk", [length] * of(count))
             for length, count in LENGTHS.items() if length <= limit]
    made.append(Workload("mixed", "bulk", mixed[:max(16, of(256))]))
    made += [Workload(f"{callers} callers", "callers", queries, callers) for callers in CALLERS]
    made.append(Workload("memory", "memory", mixed[:max(8, of(32))]))
    words = vocabulary(model_dir)
    for workload in made:
        pick = random.Random(11)
        workload.words = [[pick.choice(words) for _ in range(length - 2)]
                          for length in workload.lengths]
    return [workload for workload in made if not names or workload.name in names
            or workload.kind in names]


def vocabulary(model_dir, count=2000):
    """Words that are one token each, with its id, by the Unigram model of tokenizer.json."""
    pieces = json.loads((model_dir / "tokenizer.json").read_text())["model"]["vocab"]
    scores = {piece: score for piece, score in pieces}

    def best(text):
        """The score of the likeliest division of `text` into two pieces or more."""
        to = [0.0] + [-math.inf] * len(text)
        for end in range(1, len(text) + 1):
            for start in range(end):
                if text[start:end] in scores and end - start < len(text):
                    to[end] = max(to[end], to[start] + scores[text[start:end]])
        return to[-1]

    words = []
    for id, (piece, score) in enumerate(pieces):
        word = piece[1:]
        if piece[:1] == "▁" and word.isascii() and word.isalpha() and word.islower() and score > best(piece):
            words.append((word, id))
            if len(words) == count:
                break
    return words


def dropping_words(text, prefix):
    """`text` for a peer that puts the two tokens of `prefix` before it: as long as others have it."""
    return " ".join(text.split(" ")[:-2]), prefix + " ".join(text.split(" ")[:-2])
