"""Searches the shape and the training of the sequence model together: python -m benchmarks.search

Scratch version.
"""
import argparse, dataclasses, json, time, itertools
from functools import partial
from pathlib import Path
import numpy as np, torch, torch.nn.functional as F
from torch import nn
from benchmarks import quality
from benchmarks.quality import Data, read, count_scores, with_counts, ranks_of, all_scores
from recformer_utils.movielens import load_movielens
from recformer_utils.evaluation import metrics_from_ranks
from recformer_utils.sequences import Sequences, order_by_time, leave_one_out
from recformer_utils.tokens import movie_features
from recformer_utils.training import TrainerConfig
from recformer_utils.transformer import TransformerConfig
from recformer_utils.sequence_model import *
from recformer_utils.sequence_model import training_batches, history_scores, train_sequence_model, gap_buckets, GAP_BUCKETS, RotaryLayer
from recformer_utils import sequence_model as sm


def shuffled_ties(sequences, lengths, seed):
    """The same sequences, but the movies of one second in random order, within the first lengths."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(sequences.num_users), sequences.lengths)
    place = np.arange(len(users)) - sequences.offsets[users]
    inside = place < lengths[users]
    draw = np.where(inside, rng.random(len(users)), 1.0 + place)  # those outside stay behind, in order
    order = np.lexsort((draw, sequences.timestamps, users))
    # a group that straddles the edge: inside ones first, as they were
    return dataclasses.replace(sequences, movie_tokens=sequences.movie_tokens[order], ratings=sequences.ratings[order])


def reshuffling_batches(sequences, train_lengths, max_length, batch_size, seed):
    return training_batches(shuffled_ties(sequences, train_lengths, seed + 77), train_lengths, max_length, batch_size, seed)


class HSTUAttention(nn.Module):
    """Pointwise attention: SiLU in place of softmax, gated by a projection of the input."""
    def __init__(self, config, spread=1.0):
        super().__init__()
        w = config.embedding_dimension
        self.num_heads, self.hd = config.num_heads, w // config.num_heads
        self.uvqk = nn.Linear(w, 4 * w)
        self.out = nn.Linear(w, w)
        self.norm = nn.LayerNorm(w)
        self.window = config.context_window_size
        self.place_bias = nn.Parameter(torch.zeros(config.num_heads, self.window))
        self.drop = nn.Dropout(config.dropout_residual)

    def forward(self, x, bias=None):
        b, t, w = x.shape
        u, v, q, k = F.silu(self.uvqk(x)).chunk(4, dim=-1)
        v, q, k = (p.view(b, t, self.num_heads, self.hd).transpose(1, 2) for p in (v, q, k))
        scores = q @ k.transpose(-2, -1) / self.hd ** 0.5
        ago = (torch.arange(t)[:, None] - torch.arange(t)).clamp(0, self.window - 1)
        scores = scores + self.place_bias[:, ago]
        if bias is not None:
            scores = scores + bias
        weights = F.silu(scores).tril() / torch.arange(1, t + 1, device=x.device)[:, None] ** 0.5
        y = (weights @ v).transpose(1, 2).reshape(b, t, w)
        return self.drop(self.out(self.norm(y) * u))


class HSTULayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layer_norm = nn.LayerNorm(config.embedding_dimension)
        self.attention = HSTUAttention(config)

    def forward(self, x, bias=None):
        return x + self.attention(self.layer_norm(x), bias)


def make_model(c, config):
    model = SequenceModel(config)
    if c.get("kind") == "hstu":
        model.layers = nn.ModuleList(HSTULayer(config.transformer) for _ in range(config.transformer.num_layers))
    return model


DATA = {}
def data_of(ties):
    if ties not in DATA:
        m = load_movielens("auto")
        if ties != "file":
            m = dataclasses.replace(m, ratings=m.ratings.sample(frac=1, random_state=int(ties)))
        DATA[ties] = read(m, "B", "leave-one-out")
    return DATA[ties]


def trial(c, test=False):
    data = data_of(c.get("ties", "file"))
    shape = TransformerConfig(vocab_size=data.metadata.vocab_size, context_window_size=c["length"],
        embedding_dimension=c["width"], num_layers=c["layers"], num_heads=c["heads"],
        dropout_embeddings=c["dropout"], dropout_attention=0.0, dropout_residual=c["dropout"])
    folder = Path("runs/search") / c["name"]
    trainer = TrainerConfig(model_dir=str(folder), tensorboard_dir=str(folder / "tb"), seed=c.get("seed", 0),
        batch_size=c.get("batch", 16), starting_learning_rate=c["lr"], num_epochs=c["epochs"], schedule="cosine",
        warmup_fraction=0.05, adam_beta2=0.98, mixed_precision=True, keep_best="NDCG@10", progress=False,
        weight_decay=c.get("decay", 0.0), patience=None)
    torch.manual_seed(c.get("seed", 0))
    features = movie_features(data.movies, data.metadata) if c.get("features", True) else torch.zeros(0, 0)
    config = SequenceModelConfig(transformer=shape, item_features=features.shape[1], previous_gap=c.get("gaps", True), pair_gaps=c.get("pair", False))
    model = make_model(c, config)
    if config.item_features:
        model.item_features.copy_(features)
    cut = reshuffling_batches if c.get("reshuffle") else training_batches
    started = time.time()
    log = open(f"runs/{c['name']}.log", "a")
    result = train_sequence_model(model, data.sequences, data.split, trainer, cut=cut,
        settings={"c": json.dumps(c, sort_keys=True)}, on_epoch=lambda e, _: print(f"epoch {e} {time.time()-started:.0f}s", file=log, flush=True))
    from recformer_utils.training import load_weights
    model = load_weights(result.model, result.model_file)
    score = history_scores(model, torch.device("cpu"))
    v = data.split.validation
    logits = all_scores(score, data.sequences, v)
    alone = metrics_from_ranks(ranks_of(logits, data.sequences, v)).ndcg
    counts = count_scores(data, v, data.split.train_lengths)
    tried = {p: metrics_from_ranks(ranks_of(with_counts(logits, counts, p), data.sequences, v)).ndcg
             for p in itertools.product((0.0, 0.25, 0.5, 1.0), (0.0, 0.2, 0.4, 0.8))}
    best = max(tried, key=tried.get)
    row = {"c": c, "val": round(alone, 5), "val_counts": round(tried[best], 5), "weights": best, "best_epoch": result.best_epoch,
           "seconds": round(result.history["seconds"].sum()), "curve": result.history["NDCG@10"].round(4).tolist(),
           "train": result.history["train_loss"].round(3).tolist(), "params": sum(p.numel() for p in model.parameters())}
    if test:
        t = data.split.test
        logits = all_scores(score, data.sequences, t)
        row["test"] = round(metrics_from_ranks(ranks_of(logits, data.sequences, t)).ndcg, 5)
        counts = count_scores(data, t, data.split.known_lengths)
        row["test_counts"] = round(metrics_from_ranks(ranks_of(with_counts(logits, counts, best), data.sequences, t)).ndcg, 5)
    with open("runs/search.jsonl", "a") as f:
        f.write(json.dumps(row) + "\n")
    return row


if __name__ == "__main__":
    import sys
    torch.set_num_threads(1)
    for line in open(sys.argv[1]):
        if not line.strip(): continue
        c = json.loads(line)
        done = [json.loads(l)["c"] for l in open("runs/search.jsonl")] if Path("runs/search.jsonl").exists() else []
        if c in done: continue
        try:
            r = trial(c)
            print(json.dumps({k: r[k] for k in ("val", "val_counts", "weights", "best_epoch", "seconds", "curve")}), c["name"], flush=True)
        except Exception as e:
            print("FAILED", c["name"], repr(e)[:300], flush=True)
