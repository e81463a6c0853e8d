"""Train demo-tiny on the dialogues of `corpus.py`, on one or two processor cores.

Steps, all from one seed: learn a tokenizer, write the dialogues as tokens to a file, then
train for a wall-clock budget: a constant rate, then a linear decay to zero. A running mean of
the weights is what `export.py` writes. A checkpoint is written every few minutes and on
SIGTERM; `--resume` continues from it.

    python train.py --work /tmp/demo_tiny --minutes 80

The tokenizer never joins a digit to anything and puts a space in a token of its own
unless a very common word follows, so that a name has the same tokens after a space, a
quote or a bracket. Copying is then a copy of tokens.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from corpus import dialogues, render
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

__all__ = ["SPECIALS", "LanguageModel", "learn_tokenizer", "write_tokens"]

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tools>", "</tools>", "<tool_call>",
            "</tool_call>", "<tool_response>", "</tool_response>"]  # fmt: skip
PROMPT_WEIGHT = 0.1
"""Weight in the loss of a token that the model reads but does not have to write."""


def learn_tokenizer(path: Path, seed: int, size: int, spaced: int = 420) -> Tokenizer:
    """Learn byte-pair merges without spaces and digits, then add `spaced` words with a space."""
    texts = [
        "".join(t for t, _ in render(d))
        for _, d in zip(range(20000), dialogues(seed), strict=False)
    ]
    plain = [re.sub("|".join(map(re.escape, SPECIALS)), "\n", text) for text in texts]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIALS) - spaced,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator((re.sub(r"[ \d]", "\n", text) for text in plain), trainer)
    raw = json.loads(tokenizer.to_str())
    vocabulary = raw["model"]["vocab"]
    counted: Counter[str] = Counter()
    for text in plain[:6000]:
        counted.update(re.findall(r" ([^\W\d_]+|[^\w\s]+)", text))
    common = [word for word, _ in counted.most_common(3000) if word in vocabulary and len(word) > 0]
    for word in common[:spaced]:
        raw["model"]["merges"].append(["Ġ", word])
        vocabulary["Ġ" + word] = len(vocabulary)
    tokenizer = Tokenizer.from_str(json.dumps(raw))
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.save(str(path))
    return tokenizer


def write_tokens(path: Path, tokenizer: Tokenizer, seed: int, count: int, length: int) -> None:
    """Write rows of `length` + 1 numbers, each a token times two plus one if supervised.

    A row begins with the beginning of a dialogue and is filled with further ones; the end
    of the last is cut off. So no answer is learned without its question.
    """
    row: list[int] = []
    rows, end = 0, tokenizer.token_to_id(SPECIALS[0])
    with path.open("wb") as out:
        for made in dialogues(seed):
            pieces = render(made)
            for encoding, (_, learn) in zip(
                tokenizer.encode_batch([t for t, _ in pieces]), pieces, strict=True
            ):
                row += [token << 1 | learn for token in encoding.ids]
            row.append(end << 1)
            if len(row) > length:
                np.asarray(row[: length + 1], np.uint16).tofile(out)
                row, rows = [], rows + 1
                if rows * length >= count:
                    return


AVERAGED = 200
"""Steps over which the exported weights are a running mean of the trained ones."""


class Block(nn.Module):
    """One llama layer: attention with rotary positions, then a gated feed-forward."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.attn_norm, self.ffn_norm = nn.RMSNorm(dim, eps=1e-5), nn.RMSNorm(dim, eps=1e-5)
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(dim, hidden, bias=False), nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Apply the layer to (batch, time, dim)."""
        batch, length, dim = x.shape
        y = self.attn_norm(x)
        q, k, v = (
            f(y).view(batch, length, self.heads, -1).transpose(1, 2)
            for f in (self.q, self.k, self.v)
        )
        y = F.scaled_dot_product_attention(
            _rotate(q, cos, sin), _rotate(k, cos, sin), v, is_causal=True
        )
        x = x + self.o(y.transpose(1, 2).reshape(batch, length, dim))
        y = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(x.dtype)


class LanguageModel(nn.Module):
    """A llama with tied embeddings."""

    cos: Tensor
    sin: Tensor

    def __init__(self, vocabulary: int, dim: int, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, hidden) for _ in range(layers))
        self.norm = nn.RMSNorm(dim, eps=1e-5)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                small = name.endswith(("o.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if small else 0.02)
        head = dim // heads
        angles = torch.outer(torch.arange(2048), 10000.0 ** (-torch.arange(0, head, 2) / head))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of every target, shaped like `targets`, as float32."""
        x, length = self.embedding(tokens), tokens.shape[1]
        for block in self.blocks:
            x = block(x, self.cos[:length], self.sin[:length])
        logits = F.linear(self.norm(x), self.embedding.weight).float()
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(
            targets
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for tokens and checkpoint")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint")
    numbers: dict[str, Any] = dict(
        seed=20, dim=224, layers=5, heads=7, hidden=512, vocabulary=2048, length=512, batch=10,
        minutes=82.0, decay=0.85, rate=0.004, muon_rate=0.02, threads=1, tokens=24_000_000, steps=0,
    )  # fmt: skip
    for name, default in numbers.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    return parser.parse_args()


class Run:
    """A model in training, with all that a checkpoint keeps.

    Matrices inside the layers are trained with Muon, the embedding and the norms with AdamW.
    """

    def __init__(self, options: argparse.Namespace, vocabulary: int) -> None:
        o = self.options = options
        shape = (vocabulary, o.dim, o.layers, o.heads, o.hidden)
        self.model, self.smooth = LanguageModel(*shape), LanguageModel(*shape)
        matrices, others = [], []
        for name, parameter in self.model.named_parameters():
            inner = parameter.dim() > 1 and not name.startswith("embedding")
            (matrices if inner else others).append(parameter)
        self.rates = (o.muon_rate, o.rate)
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=o.muon_rate, weight_decay=0.01, momentum=0.95),
            torch.optim.AdamW(others, lr=o.rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
        ]
        self.step = self.position = 0
        self.spent = 0.0  # seconds, over all sessions
        self._path: Path = o.work / "checkpoint.pt"
        self._compiled = torch.compile(self.model)

    def load(self) -> None:
        """Continue from the checkpoint."""
        state = torch.load(self._path, weights_only=False)
        self.model.load_state_dict(state["model"])
        self.smooth.load_state_dict(state["smooth"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.position, self.spent = state["step"], state["position"], state["spent"]

    def save(self) -> None:
        """Write the checkpoint, replacing the last one only when complete."""
        state = {
            "model": self.model.state_dict(),
            "smooth": self.smooth.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "position": self.position,
            "spent": self.spent,
            "options": {k: v for k, v in vars(self.options).items() if k != "work"},
        }
        new = self._path.with_suffix(".new")
        torch.save(state, new)
        new.replace(self._path)

    def scale(self) -> float:
        """Return the share of the full rate for the time spent; 0 or less when it is over."""
        left = 1 - self.spent / (60 * self.options.minutes)
        return min(1.0, (self.step + 1) / 80, left / self.options.decay)

    def learn(self, rows: Tensor) -> float:
        """Take one step on (batch, length + 1) stored numbers; return the loss of the answers."""
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * self.scale()
        supervised = (rows[:, 1:] & 1).bool()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = self._compiled(rows[:, :-1] >> 1, rows[:, 1:] >> 1)
        weights = torch.where(supervised, 1.0, PROMPT_WEIGHT)
        ((losses * weights).sum() / weights.sum()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for mean, now in zip(self.smooth.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 / min(self.step + 1, AVERAGED))
        self.step += 1
        self.position += supervised.numel()
        return float(losses.detach()[supervised].mean())


def _prepared(o: argparse.Namespace) -> tuple[int, np.ndarray]:
    """Return the size of the vocabulary and the stored rows; make both files if needed."""
    tokenizer_path = o.work / "tokenizer.json"
    tokens_path = o.work / f"tokens-{o.seed}-{o.length}.bin"
    if not tokenizer_path.exists():
        learn_tokenizer(tokenizer_path, o.seed, o.vocabulary)
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    if not tokens_path.exists():
        write_tokens(tokens_path, tokenizer, o.seed, o.tokens, o.length)
    stored = np.memmap(tokens_path, np.uint16, "r").reshape(-1, o.length + 1)
    return tokenizer.get_vocab_size(), stored


def main() -> None:
    """Train until the time is over."""
    o = _options()
    torch.manual_seed(o.seed)
    torch.set_num_threads(o.threads)
    o.work.mkdir(parents=True, exist_ok=True)
    vocabulary, stored = _prepared(o)
    run = Run(o, vocabulary)
    if o.resume:
        run.load()
    print("parameters", sum(p.numel() for p in run.model.parameters()), flush=True)
    began, saved, average = time.monotonic() - run.spent, run.spent, 0.0
    shown = (run.spent, run.position)
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    while run.scale() > 0 and not stopped and not 0 < o.steps <= run.step:
        first = run.position // o.length % (len(stored) - o.batch + 1)
        loss = run.learn(torch.from_numpy(stored[first : first + o.batch].astype(np.int64)))
        average = 0.97 * average + 0.03 * loss if average else loss
        run.spent = time.monotonic() - began
        if run.step % 50 == 0:
            speed = (run.position - shown[1]) / (run.spent - shown[0])
            shown = (run.spent, run.position)
            print(
                f"step {run.step} {run.spent:.0f}s tokens {run.position / 1e6:.2f}M {speed:.0f}/s "
                f"answer {average:.3f} rate {run.scale():.2f}",
                flush=True,
            )
        if run.spent - saved > 150:
            run.save()
            saved = run.spent
    run.save()
    print(f"finished: {run.step} steps, {run.position} tokens, {run.spent:.0f} s, {average:.3f}")


if __name__ == "__main__":
    main()
