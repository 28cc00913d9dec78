#!/usr/bin/env python3
"""Times libbge against a plain ONNX export of the same weights in onnxruntime.

    python benches/against_onnx.py MODEL_DIR [--threads 2] [--repeat 9] [--scale 1.0]

`make bench` installs what it needs and runs it on the default model.

Both run in this process, in turns, with the same threads. The export is run as is usual: sorted by
length, 32 texts a batch, padded to the longest, all graph optimisations on. Its ids are prepared
before the clock starts; libbge gets texts and tokenises them itself. Vectors are compared before
anything is timed. libbge runs in fp32 and in int8. Prints a table of tokens (without padding) a
second, and the median and range over the repetitions of two ratios: libbge to the export, both in
fp32, and libbge in int8 to fp32.
"""

import argparse
import json
import random
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from libbge import ROOT, Libbge

BATCH = 32


class PlainOnnx:
    def __init__(self, model_dir, threads):
        import onnxruntime
        pooling = json.loads((model_dir / "1_Pooling/config.json").read_text())
        self.mean = pooling["pooling_mode_mean_tokens"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(str(export(model_dir)), options,
                                                    providers=["CPUExecutionProvider"])

    def prepare(self, ids):
        order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
        batches = []
        for start in range(0, len(ids), BATCH):
            rows = order[start:start + BATCH]
            width = max(len(ids[row]) for row in rows)
            padded = np.ones((len(rows), width), np.int64)
            mask = np.zeros((len(rows), width), np.int64)
            for place, row in enumerate(rows):
                padded[place, :len(ids[row])] = ids[row]
                mask[place, :len(ids[row])] = 1
            batches.append((rows, padded, mask))
        return batches

    def encode(self, batches):
        vectors = {}
        for rows, ids, mask in batches:
            (hidden,) = self.session.run(None, {"input_ids": ids, "attention_mask": mask})
            if self.mean:
                weights = mask[..., None].astype(np.float32)
                pooled = (hidden * weights).sum(1) / weights.sum(1)
            else:
                pooled = hidden[:, 0]
            pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
            vectors.update(zip(rows, pooled))
        return np.stack([vectors[row] for row in range(len(vectors))])


def export(model_dir):
    """The last hidden state, as torch traces it, in the cache."""
    folder = ROOT / ".cache/onnx" / model_dir.resolve().name
    if not (folder / "model.onnx").exists():
        import torch
        from transformers import XLMRobertaModel

        class Encoder(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = XLMRobertaModel.from_pretrained(
                    model_dir, add_pooling_layer=False, attn_implementation="eager").eval()

            def forward(self, input_ids, attention_mask):
                return self.model(input_ids=input_ids, attention_mask=attention_mask)[0]

        folder.mkdir(parents=True, exist_ok=True)
        example = torch.tensor([[0, 5, 6, 2], [0, 5, 2, 1]])
        axes = {0: "batch", 1: "tokens"}
        with torch.no_grad():
            torch.onnx.export(
                Encoder(), (example, (example != 1).long()), str(folder / "part.onnx"),
                input_names=["input_ids", "attention_mask"], output_names=["last_hidden_state"],
                dynamic_axes={name: axes for name in
                              ("input_ids", "attention_mask", "last_hidden_state")},
                opset_version=17, dynamo=False)
        (folder / "part.onnx").rename(folder / "model.onnx")
    return folder / "model.onnx"


def workloads(scale):
    """Lists of lengths in tokens, the two special ones included."""
    lengths = random.Random(7)
    mixed = [min(512, max(5, round(lengths.lognormvariate(4.0, 1.0)))) for _ in range(256)]
    of = lambda count, length: [length] * max(1, round(count * scale))
    return {"16": of(64, 16), "128": of(32, 128), "512": of(16, 512),
            "mixed 5-512": mixed[:max(16, round(256 * scale))]}


def ratio(slower, faster):
    ratios = sorted(a / b for a, b in zip(slower, faster))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--max-batch-tokens", type=int, default=0)
    args = parser.parse_args()
    ours = Libbge(args.model_dir, args.threads, args.max_batch_tokens)
    int8 = Libbge(args.model_dir, args.threads, args.max_batch_tokens, compute_type=1)
    plain = PlainOnnx(args.model_dir, args.threads)
    # One token each in the vocabulary of XLM-RoBERTa: "▁di", "▁a", "▁in", "▁to".
    words = {45: "di", 10: "a", 23: "in", 47: "to"}
    pick = random.Random(11)
    print("| tokens a text | texts | libbge tokens/s | export tokens/s | ratio (range) | int8 tokens/s | to fp32 (range) |\n"
          "|---|---|---|---|---|---|---|")
    for name, lengths in workloads(args.scale).items():
        bodies = [[pick.choice(list(words)) for _ in range(length - 2)] for length in lengths]
        texts = ours.prepare([" ".join(words[word] for word in body) for body in bodies])
        batches = plain.prepare([[0, *body, 2] for body in bodies])
        difference = np.abs(ours.encode(texts) - plain.encode(batches)).max()
        if not difference < 1e-5:
            sys.exit(f"{name}: the vectors differ by {difference}")
        seconds = ([], [], [])
        for _ in range(args.repeat):
            for peer, work, times in zip((ours, plain, int8), (texts, batches, texts), seconds):
                # onnxruntime's threads spin for a while after a run, in the other's time.
                time.sleep(0.5)
                start = time.perf_counter()
                peer.encode(work)
                times.append(time.perf_counter() - start)
        rates = [sum(lengths) / statistics.median(times) for times in seconds]
        print(f"| {name} | {len(lengths)} | {rates[0]:.0f} | {rates[1]:.0f} | {ratio(seconds[1], seconds[0])} | "
              f"{rates[2]:.0f} | {ratio(seconds[0], seconds[2])} |", flush=True)


if __name__ == "__main__":
    main()
