"""What a chat template can do, read from its Jinja code without running it.

Templates come from strangers: nothing is rendered, and every pattern is linear.
"""

import re
from functools import lru_cache

_LITERAL = r"""'(?:\\.|[^'\\])*+(?:'|\Z)|"(?:\\.|[^"\\])*+(?:"|\Z)"""
_COMMENT = r"\{#(?:[^#]|#(?!\}))*+(?:#\}|\Z)"
_TAGS = re.compile(
    rf"{_COMMENT}|\{{[%{{](?P<code>(?:{_LITERAL}|[^'\"%}}]|[%}}](?!\}}))*+)(?:[%}}]\}}|\Z)",
    re.DOTALL,
)
_LITERALS = re.compile(_LITERAL, re.DOTALL)

# Used, not only set: Llama 3's `if not tools is defined`, Qwen's `if tools`, Mistral's
# `for tool in tools`, Kimi's `render_tool_declare(tools)`. Templates that only repeat calls
# which were made (DeepSeek R1: `message['tool_calls']`) do not show the tools to the model.
_TOOLS = re.compile(r"(?<![.\w])tools\b(?!\s*=(?!=))")

# `thinking` alone may be a local name, or a message's field: it counts where it is asked for.
#   enable_thinking     Qwen3, GLM 4.5, SmolLM3, Hunyuan, EXAONE 4, Gemma 4, Nemotron Nano 2
#   thinking            DeepSeek V3.1, Granite 3.2, Hermes 4, Kimi K2.5
#   thinking_budget     Seed-OSS
#   thinking_effort     Kimi K3
#   thinking_mode       MiniMax M3
#   reasoning_effort    gpt-oss, Magistral's successors
_THINKING_SWITCH = re.compile(
    r"\b(?:enable_thinking|thinking_budget|thinking_effort|thinking_mode|reasoning_effort)\b"
    r"|\b(?:if|not|and|or)\s+thinking\b(?!\s*[.\[(])"
    r"|(?<![.\w])thinking\s+is\s+(?:not\s+)?(?:un)?defined\b"
)


def shows_tools(template: str) -> bool:
    """Whether a template tells the model which tools there are."""
    return "tools" in template and _TOOLS.search(_code(template)) is not None


def has_thinking_switch(template: str) -> bool:
    """Whether a template has a variable that turns thinking on or off, or sets how much."""
    if "thinking" not in template and "reasoning_effort" not in template:
        return False
    return _THINKING_SWITCH.search(_code(template)) is not None


@lru_cache(maxsize=16)  # the quantizations of a model have one template
def _code(template: str) -> str:
    """Return what stands in the tags, a line for each, without literals and comments."""
    code = (tag["code"] or "" for tag in _TAGS.finditer(template))
    return "\n".join(_LITERALS.sub("''", tag) for tag in code)
