#!/usr/bin/env python3
"""Fine-tunes an embedding model on triplets, on the CPU, in a directory that libbge opens as it is.

    finetune.py BASE TRAIN EVAL OUT

BASE is a model directory; TRAIN and EVAL are files of tab-separated columns with a header that names
anchor, positive and negative. OUT gets model/, the directory; figures.json; figures.svg; and
vectors.jsonl, what sentence-transformers makes of the first texts of EVAL.
"""
import argparse
import csv
import json
import time
from pathlib import Path

import matplotlib
import sentence_transformers
import torch
import transformers
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.evaluation import TripletEvaluator
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from sentence_transformers.util import cos_sim

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

COLUMNS = ("anchor", "positive", "negative")
METRICS = ("cosine", "dot", "manhattan", "euclidean")
KEPT_VECTORS = 32


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("eval", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pooling", choices=Pooling.POOLING_MODES, help="pool so and normalize; else as BASE does")
    parser.add_argument("--steps", type=int, default=500, help="of training; 500 if not given")
    parser.add_argument("--batch", type=int, default=4, help="triplets a step; 4 if not given")
    options = parser.parse_args()
    train, evaluation = triplets(options.train), triplets(options.eval)
    model = opened(options.base, options.pooling)
    evaluator = TripletEvaluator(*evaluation.values(), similarity_fn_names=METRICS, write_csv=False)

    before = accuracies(evaluator(model))
    began = time.monotonic()
    losses = fine_tune(model, train, options)
    seconds = time.monotonic() - began
    after = accuracies(evaluator(model))

    model.save_pretrained(str(options.out / "model"))
    save_vectors(model, evaluation["anchor"][:KEPT_VECTORS], options.out / "vectors.jsonl")
    figures = {
        "base": options.base.name,
        "pooling": options.pooling,
        "steps": options.steps,
        "batch": options.batch,
        "triplets": {"train": len(train["anchor"]), "eval": len(evaluation["anchor"])},
        "before": before,
        "after": after,
        "loss": losses,
        "seconds": round(seconds),
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, sentence_transformers)},
    }
    (options.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    plot(figures, options.out / "figures.svg")
    print("| accuracy | before | after |\n| --- | --- | --- |")
    for metric in METRICS:
        print("| %s | %.4f | %.4f |" % (metric, before[metric], after[metric]))


def triplets(path):
    """The columns of a file, by name."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or any(row.get(column) is None for row in rows for column in COLUMNS):
        raise SystemExit("%s: not every row has %s" % (path, ", ".join(COLUMNS)))
    return {column: [row[column] for row in rows] for column in COLUMNS}


def opened(base, pooling):
    fp32 = {"dtype": torch.float32}
    if pooling is None:
        return SentenceTransformer(str(base), device="cpu", model_kwargs=fp32)
    encoder = Transformer(str(base), model_kwargs=fp32)
    layers = [encoder, Pooling(encoder.get_embedding_dimension(), pooling), Normalize()]
    return SentenceTransformer(modules=layers, device="cpu")


def accuracies(result):
    return {metric: result[metric + "_accuracy"] for metric in METRICS}


def fine_tune(model, train, options):
    """The recipe of the model card; what it does not name are the trainer's defaults. Returns step and loss."""
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(options.out),
        max_steps=options.steps,
        per_device_train_batch_size=options.batch,
        warmup_steps=0.1,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        seed=42,
        use_cpu=True,
        logging_steps=max(options.steps // 50, 1),
        save_strategy="no",
        report_to="none",
    )
    loss = MultipleNegativesRankingLoss(model, scale=20.0, similarity_fct=cos_sim)
    trainer = SentenceTransformerTrainer(model, arguments, train_dataset=Dataset.from_dict(train), loss=loss)
    trainer.train()
    return [[entry["step"], entry["loss"]] for entry in trainer.state.log_history if "loss" in entry]


def save_vectors(model, texts, path):
    with open(path, "w", encoding="utf-8") as file:
        for text, vector in zip(texts, model.encode(texts)):
            file.write(json.dumps({"text": text, "dense": vector.tolist()}, ensure_ascii=False) + "\n")


def plot(figures, path):
    figure, (loss, accuracy) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    loss.plot(*zip(*figures["loss"]))
    loss.set(xlabel="step", ylabel="training loss", ylim=(0, None))
    for offset, when in ((-0.2, "before"), (0.2, "after")):
        values = [figures[when][metric] for metric in METRICS]
        bars = accuracy.bar([i + offset for i in range(len(METRICS))], values, 0.38, label=when)
        accuracy.bar_label(bars, fmt="%.3f", fontsize=7)
    accuracy.set(xticks=range(len(METRICS)), xticklabels=METRICS, ylabel="triplet accuracy", ylim=(0, 1))
    accuracy.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    main()
