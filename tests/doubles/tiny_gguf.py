"""Write a tiny model file with seeded random weights, with nothing but the standard library.

A llama of two layers over a vocabulary of the 256 bytes and the ChatML markers, about
0.5 MB. It says nonsense, always the same nonsense, and can be made to say any JSON that a
grammar asks for. The chat template is in the ChatML and `<tool_call>` form that llama.cpp
recognises.

    python tests/doubles/tiny_gguf.py OUT.gguf

Source: the GGUF specification, version 3 (ggml/docs/gguf.md).
"""

from __future__ import annotations

import random
import struct
import sys
from array import array
from pathlib import Path

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
F32_TENSOR = 0
ALIGNMENT = 32

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

CHAT_TEMPLATE = """\
{%- if tools %}<|im_start|>system
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call><|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% else %}<|im_start|>{{ message.role }}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def byte_tokens() -> list[str]:
    """The 256 bytes in GPT-2's printable spelling."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelling = {byte: chr(byte) for byte in printable}
    for number, byte in enumerate(b for b in range(256) if b not in spelling):
        spelling[byte] = chr(256 + number)
    return [spelling[byte] for byte in range(256)]


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def field(key: str, kind: int, value: object) -> bytes:
    return text(key) + struct.pack("<I", kind) + scalar(kind, value)


def scalar(kind: int, value) -> bytes:
    if kind == STRING:
        return text(value)
    if kind == ARRAY:
        inner, values = value
        packed = b"".join(scalar(inner, entry) for entry in values)
        return struct.pack("<IQ", inner, len(values)) + packed
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)


def metadata(embd: int, layers: int, heads: int, ffn: int, context: int) -> list[bytes]:
    tokens = [*byte_tokens(), *SPECIALS]
    types = [1] * 256 + [3] * len(SPECIALS)  # normal, control
    return [
        field("general.architecture", STRING, "llama"),
        field("general.name", STRING, "tiny-random"),
        field("general.file_type", UINT32, 0),
        field("llama.context_length", UINT32, context),
        field("llama.embedding_length", UINT32, embd),
        field("llama.block_count", UINT32, layers),
        field("llama.feed_forward_length", UINT32, ffn),
        field("llama.attention.head_count", UINT32, heads),
        field("llama.attention.head_count_kv", UINT32, heads),
        field("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
        field("llama.rope.dimension_count", UINT32, embd // heads),
        field("llama.rope.freq_base", FLOAT32, 10000.0),
        field("llama.vocab_size", UINT32, len(tokens)),
        field("tokenizer.ggml.model", STRING, "gpt2"),
        field("tokenizer.ggml.pre", STRING, "gpt-2"),
        field("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
        field("tokenizer.ggml.token_type", ARRAY, (INT32, types)),
        field("tokenizer.ggml.merges", ARRAY, (STRING, ["Ġ t"])),  # the key must exist
        field("tokenizer.ggml.bos_token_id", UINT32, 256),
        field("tokenizer.ggml.eos_token_id", UINT32, 258),
        field("tokenizer.ggml.padding_token_id", UINT32, 256),
        field("tokenizer.ggml.add_bos_token", BOOL, False),
        field("tokenizer.chat_template", STRING, CHAT_TEMPLATE),
    ]


def shapes(embd: int, layers: int, ffn: int) -> dict[str, tuple[int, ...]]:
    """Tensor names and dimensions, innermost first."""
    vocabulary = 256 + len(SPECIALS)
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (embd, vocabulary)}
    for layer in range(layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            found[f"blk.{layer}.{name}.weight"] = (embd, embd)
        found[f"blk.{layer}.attn_norm.weight"] = (embd,)
        found[f"blk.{layer}.ffn_norm.weight"] = (embd,)
        found[f"blk.{layer}.ffn_gate.weight"] = (embd, ffn)
        found[f"blk.{layer}.ffn_up.weight"] = (embd, ffn)
        found[f"blk.{layer}.ffn_down.weight"] = (ffn, embd)
    found["output_norm.weight"] = (embd,)
    found["output.weight"] = (embd, vocabulary)
    return found


def weights(shape: tuple[int, ...], noise: array) -> bytes:
    """Ones for a norm; for a matrix, noise repeated with a prime period."""
    if len(shape) == 1:
        return array("f", [1.0] * shape[0]).tobytes()
    count = shape[0] * shape[1]
    return (noise * (count // len(noise) + 1))[:count].tobytes()


def write_tiny_gguf(
    path: Path, *, embd: int = 64, layers: int = 2, context: int = 2048, seed: int = 0
) -> Path:
    """Write the model file."""
    random_source = random.Random(seed)
    noise = array("f", (random_source.gauss(0.0, 0.08) for _ in range(32_771)))
    fields = metadata(embd, layers, heads=4, ffn=2 * embd, context=context)
    infos, blocks, offset = [], [], 0
    for name, shape in shapes(embd, layers, 2 * embd).items():
        block = weights(shape, noise)
        dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        infos.append(text(name) + dimensions + struct.pack("<IQ", F32_TENSOR, offset))
        block += bytes(-len(block) % ALIGNMENT)
        blocks.append(block)
        offset += len(block)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(fields))
    head += b"".join(fields) + b"".join(infos)
    path.write_bytes(head + bytes(-len(head) % ALIGNMENT) + b"".join(blocks))
    return path


if __name__ == "__main__":
    print(write_tiny_gguf(Path(sys.argv[1])))
