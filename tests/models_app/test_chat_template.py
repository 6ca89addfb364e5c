import pytest

from models_app.chat_template import has_thinking_switch, shows_tools


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(
            "{%- if tools %}{{- '# Tools' }}{%- for tool in tools %}{% endfor %}", id="Qwen 3"
        ),
        pytest.param(
            "{%- if not tools is defined %}{%- set tools = none %}{%- endif %}", id="Llama 3"
        ),
        pytest.param(
            '{%- if tools is not none and (message == user_messages[-1]) %}{{- "[" }}',
            id="Mistral Nemo",
        ),
        pytest.param("{% if tools or documents %}", id="Command R7B"),
        pytest.param("{{- render_tool_declare(tools) -}}", id="Kimi K3"),
        pytest.param('{{- \'<x>[{{"name": "a"}}, \' -}}{%- if tools -%}', id="Nemotron Nano 2"),
    ],
)
def test_a_template_that_is_given_the_tools_shows_them(template: str) -> None:
    assert shows_tools(template)


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("{% for message in messages %}{{ message.content }}", id="SmolLM2"),
        pytest.param(
            "{%- if message['role'] == 'assistant' and message['tool_calls'] -%}",
            id="DeepSeek R1",
        ),
        pytest.param("{% set system = 'You have no tools.' %}", id="in a sentence"),
        pytest.param("You may use tools. {{ messages[0] }}", id="in the text"),
        pytest.param("{# tools #}{{ messages }}", id="in a comment"),
        pytest.param("{{ message.tools }}", id="a message's field"),
        pytest.param("{% set tools = none %}", id="only set"),
        pytest.param("", id="no template"),
    ],
)
def test_other_templates_show_no_tools(template: str) -> None:
    assert not shows_tools(template)


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(
            "{%- if enable_thinking is defined and enable_thinking is false %}", id="Qwen 3"
        ),
        pytest.param(
            "{{- '/nothink' if (enable_thinking is defined and not enable_thinking) else '' }}",
            id="GLM 4.5",
        ),
        pytest.param("{%- set ns = namespace(enable_thinking=true) -%}", id="Nemotron Nano 2"),
        pytest.param("{%- if not thinking is defined -%}", id="DeepSeek V3.1"),
        pytest.param("{%- if thinking %}{{- 'Think step by step.' }}", id="Granite 3.2"),
        pytest.param(
            "{%- if thinking is defined and thinking is false -%}<think></think>",
            id="Kimi K2.5",
        ),
        pytest.param("{%- if thinking_effort is undefined -%}", id="Kimi K3"),
        pytest.param('{%- if thinking_mode == "enabled" -%}', id="MiniMax M3"),
        pytest.param("{%- if thinking_budget is defined -%}", id="Seed-OSS"),
        pytest.param("{%- if reasoning_effort is not defined %}", id="gpt-oss"),
    ],
)
def test_a_template_that_asks_for_it_has_a_thinking_switch(template: str) -> None:
    assert has_thinking_switch(template)


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(
            "{% set content = content.split('</think>')[-1] %}{{ '<think>' }}", id="DeepSeek R1"
        ),
        pytest.param('{%- if "thinking" in message %}{{ message.thinking }}', id="a field"),
        pytest.param("{% set thinking = content.split('x')[0] %}{{ thinking }}", id="a local"),
        pytest.param("{{ 'If thinking is defined by you, think.' }}", id="in a sentence"),
        pytest.param("{%- if keep_past_thinking %}", id="LFM 2.5"),
    ],
)
def test_other_templates_have_no_thinking_switch(template: str) -> None:
    assert not has_thinking_switch(template)


@pytest.mark.parametrize("piece", ["{%", "{{'", "{#", "'\\", '{{"\\"', "%}", "{% tools"])
def test_a_hostile_template_is_read_to_its_end(piece: str) -> None:
    template = "tools thinking" + piece * (64 * 1024 // len(piece))

    answer = shows_tools(template), has_thinking_switch(template)

    assert answer in {(False, False), (True, False)}
