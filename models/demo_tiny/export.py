"""Write a checkpoint of `train.py` as a GGUF file that llama.cpp can run.

    python export.py --work /tmp/demo_tiny --seeds 20 --out ../../src/confide/models/demo_tiny

The file names itself `demo-tiny`, carries its licence, the chat template and the
tokenizer. Beside it, `demo-tiny.json` records the hash, the seed and the tokens seen.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from train import SPECIALS

__all__ = ["CONTEXT_LENGTH", "write_gguf"]

CONTEXT_LENGTH = 2048
"""Tokens the file admits. Training rows are shorter; see README.md."""
NAMES = {
    "attn_norm": "attn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "ffn_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
"""Our names of the parts of a layer, and those of GGUF."""


def _tokenizer(writer: gguf.GGUFWriter, stored: dict[str, Any]) -> None:
    words = {number: word for word, number in stored["model"]["vocab"].items()}
    words |= {added["id"]: added["content"] for added in stored["added_tokens"]}
    tokens = [words[i] for i in range(len(words))]
    kinds = {word: gguf.TokenType.USER_DEFINED for word in SPECIALS}
    kinds |= {word: gguf.TokenType.CONTROL for word in SPECIALS[:3]}
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.get(token, gguf.TokenType.NORMAL) for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in stored["model"]["merges"]])
    writer.add_bos_token_id(tokens.index(SPECIALS[0]))
    writer.add_eos_token_id(tokens.index(SPECIALS[2]))
    writer.add_pad_token_id(tokens.index(SPECIALS[0]))
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)


def write_gguf(path: Path, state: dict[str, Any], tokenizer: dict[str, Any], template: str) -> None:
    """Write the model with matrices as Q8_0 and norms as float32."""
    options = state["options"]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("demo-tiny")
    writer.add_description("A tiny demo model that comes with confide. It knows almost nothing.")
    writer.add_license("Apache-2.0")
    writer.add_author("The confide authors")
    writer.add_languages(["en"])
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_embedding_length(options["dim"])
    writer.add_block_count(options["layers"])
    writer.add_feed_forward_length(options["hidden"])
    writer.add_head_count(options["heads"])
    writer.add_head_count_kv(options["heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(options["dim"] // options["heads"])
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    _tokenizer(writer, tokenizer)
    writer.add_chat_template(template)
    for name, tensor in state["smooth"].items():
        parts = name.split(".")
        if parts[0] == "blocks":
            target = f"blk.{parts[1]}.{NAMES[parts[2]]}.weight"
        else:
            target = {"embedding": "token_embd.weight", "norm": "output_norm.weight"}[parts[0]]
        values = np.ascontiguousarray(tensor.float().numpy())
        if values.ndim == 1:
            writer.add_tensor(target, values)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(target, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Export the last checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        required=True,
        help="seeds of the stages of training, in order",
    )
    options = parser.parse_args()
    state = torch.load(options.work / "checkpoint.pt", map_location="cpu", weights_only=False)
    tokenizer = json.loads((options.work / "tokenizer.json").read_text())
    template = (Path(__file__).parent / "template.jinja").read_text().rstrip("\n")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "demo-tiny.gguf"
    write_gguf(path, state, tokenizer, template)
    data = path.read_bytes()
    record = {
        "name": "demo-tiny",
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "license": "Apache-2.0",
        "architecture": "llama",
        "quantization": "Q8_0",
        "context_length": CONTEXT_LENGTH,
        "parameters": sum(tensor.numel() for tensor in state["smooth"].values()),
        "seed": options.seeds[0],
        "corpus_seeds": options.seeds,
        "tokens_seen": state["position"],
        "training_steps": state["step"],
        "training_seconds": round(state["spent"]),
    }
    (options.out / "demo-tiny.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
