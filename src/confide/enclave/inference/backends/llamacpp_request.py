"""What of a request reaches the embedded engine.

Its request parser knows dozens of controls, some of which reach other callers (slots, caches,
adapters), and more come with every version. So only fields listed here are passed on; a known
control is refused by name, and anything else is left out.
"""

from __future__ import annotations

from typing import Final

from confide.enclave.inference.backend import BackendRequest, Operation
from confide.errors import InvalidRequest

__all__ = ["ENGINE_FIELDS", "SAMPLING_FIELDS", "check_single", "forwarded_fields"]

#: Controls of the engine itself. Any of them from a client is a 400 that names it.
ENGINE_FIELDS: Final = frozenset(
    {
        "backend_sampling", "cache_prompt", "chat_format", "chat_template",
        "continue_final_message", "grammar", "grammar_lazy", "grammar_triggers", "id_slot",
        "ignore_eos", "image_data", "input_prefix", "input_suffix", "lora", "min_keep",
        "n_cache_reuse", "n_cmpl", "n_discard", "n_indent", "n_keep", "n_predict", "n_probs",
        "parse_tool_calls", "post_sampling_probs", "preserved_tokens", "response_fields",
        "return_progress", "return_tokens", "samplers", "speculative", "t_max_predict_ms",
        "t_max_prompt_ms", "timings_per_token", "verbose",
    }
)  # fmt: skip

SAMPLING_FIELDS: Final = frozenset(
    {
        "stream", "stream_options", "max_tokens", "temperature", "top_p", "top_k", "min_p",
        "typical_p", "seed", "stop", "presence_penalty", "frequency_penalty", "repeat_penalty",
        "repeat_last_n", "logit_bias", "logprobs",
    }
)  # fmt: skip
_FORWARDED: Final = {
    Operation.CHAT: SAMPLING_FIELDS
    | {
        "messages", "tools", "tool_choice", "parallel_tool_calls", "top_logprobs",
        "chat_template_kwargs", "reasoning_format",
    },
    Operation.COMPLETIONS: SAMPLING_FIELDS | {"prompt"},
    Operation.EMBEDDINGS: frozenset({"input", "encoding_format"}),
    Operation.RESPONSES: SAMPLING_FIELDS
    - {"stream_options", "max_tokens", "logprobs"}
    | {
        "input", "instructions", "max_output_tokens", "tools", "tool_choice",
        "parallel_tool_calls", "text", "reasoning", "store",
    },
}  # fmt: skip


def check_single(request: BackendRequest) -> None:
    """Refuse several answers at once: the engine reports the usage of one of them only."""
    if request.fields.get("n") not in (None, 1):
        raise InvalidRequest("only one choice can be generated", param="n")
    if request.fields.get("best_of") not in (None, 1):
        raise InvalidRequest("only one choice can be generated", param="best_of")
    if request.operation is not Operation.COMPLETIONS:
        return
    prompt = request.fields.get("prompt")
    several = isinstance(prompt, list) and (
        len(prompt) != 1 and not all(isinstance(token, int) for token in prompt)
    )
    if several or not isinstance(prompt, str | list):
        raise InvalidRequest("prompt must be one string or a list of tokens", param="prompt")


def forwarded_fields(request: BackendRequest) -> dict[str, object]:
    """The fields that the engine gets."""
    given = request.fields
    allowed = _FORWARDED[request.operation]
    fields = {name: value for name, value in given.items() if name in allowed}
    if given.get("max_completion_tokens") is not None and "max_tokens" in allowed:
        fields["max_tokens"] = given["max_completion_tokens"]
    if request.operation is not Operation.EMBEDDINGS:
        fields["cache_prompt"] = False
    elif given.get("dimensions") is not None:
        raise InvalidRequest("this model's embeddings cannot be shortened", param="dimensions")
    return fields
