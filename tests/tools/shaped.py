"""Random weights in the shape of BAAI/bge-m3, or smaller: for timing, memory and limits.

Every matrix is cut from one block of normally distributed numbers. Each row begins at a place of
its own in the block, so rows differ, and the weights cost no more than copying them. The same
arguments give the same bytes on every machine.
"""
import array
import random

import model_dir

# Floats in the block. A prime, so that steps through it do not fall into a short cycle.
BLOCK = 1048573
# Bytes handed over at once.
CHUNK = 8 << 20
DEVIATION = 0.02


def model(layers, hidden, heads, intermediate, vocab, positions, seed):
    """Tensors for `model_dir.write_weights`, and the config.json."""
    if hidden % heads:
        raise ValueError("%d heads do not divide a hidden size of %d" % (heads, hidden))
    source = Source(seed, max(hidden, intermediate))
    tensors = []

    def matrix(name, rows, columns):
        tensors.append((name, [rows, columns], source.matrix(len(tensors), rows, columns)))

    def vector(name, size, mean=0.0):
        tensors.append((name, [size], source.vector(len(tensors), size, mean)))

    def layer_norm(name):
        vector(name + ".weight", hidden, 1.0)
        vector(name + ".bias", hidden)

    def linear(name, rows, columns):
        matrix(name + ".weight", rows, columns)
        vector(name + ".bias", rows)

    matrix("embeddings.word_embeddings.weight", vocab, hidden)
    matrix("embeddings.position_embeddings.weight", positions, hidden)
    matrix("embeddings.token_type_embeddings.weight", 1, hidden)
    layer_norm("embeddings.LayerNorm")
    for i in range(layers):
        layer = "encoder.layer.%d." % i
        for part in ("query", "key", "value"):
            linear(layer + "attention.self." + part, hidden, hidden)
        linear(layer + "attention.output.dense", hidden, hidden)
        layer_norm(layer + "attention.output.LayerNorm")
        linear(layer + "intermediate.dense", intermediate, hidden)
        linear(layer + "output.dense", hidden, intermediate)
        layer_norm(layer + "output.LayerNorm")
    # The real file has it too, and nothing uses it.
    linear("pooler.dense", hidden, hidden)
    config = model_dir.xlm_roberta_config(
        hidden, layers, heads, intermediate, vocab, positions, 1e-5
    )
    return tensors, config


class Source:
    """The block of numbers, and what is cut from it."""

    def __init__(self, seed, longest_row):
        self.seed = seed
        generator = random.Random(seed)
        block = array.array("f", (generator.gauss(0.0, DEVIATION) for _ in range(BLOCK)))
        # A row that begins near the end runs on into a second copy of the head.
        block.extend(block[:longest_row])
        self.bytes = memoryview(block).cast("B")

    def matrix(self, tensor, rows, columns):
        def chunks():
            generator = random.Random(self.seed * 1000003 + tensor)
            place, step = generator.randrange(BLOCK), generator.randrange(BLOCK // 4, BLOCK // 2)
            at_once = max(1, CHUNK // (4 * columns))
            for begin in range(0, rows, at_once):
                parts = []
                for _ in range(min(at_once, rows - begin)):
                    parts.append(self.bytes[4 * place : 4 * (place + columns)])
                    place = (place + step) % BLOCK
                yield b"".join(parts)

        return chunks

    def vector(self, tensor, size, mean):
        def chunks():
            generator = random.Random(self.seed * 1000003 + tensor)
            yield model_dir.pack([generator.gauss(mean, DEVIATION) for _ in range(size)], "F32")

        return chunks
