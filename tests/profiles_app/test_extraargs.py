"""Which further flags a person may give llama-server."""

import pytest

from profiles_app.extraargs import judge_extra_args, never_allowed
from profiles_app.runsettings import FIELDS


def sentences(*items: object) -> list[str]:
    return [sentence for _, sentence in judge_extra_args(list(items))]


@pytest.mark.parametrize(
    "items",
    [
        ["--temp", "0.7"],
        ["--override-kv", "tokenizer.ggml.add_bos_token=bool:false"],
        ["--chat-template-kwargs", '{"enable_thinking": false}'],
        ["--cache-ram", "-1"],
        ["-ot", ".ffn_.*=CPU"],
        ["--spec-default"],
        ["--spec-type", "ngram-mod"],
        ["--kv-unified-per-slot", "4096"],
        ["--cors-origins", "localhost", "--no-slots", "--metrics"],
        ["--chat-template", ""],
        ["--reverse-prompt", "- no flag"],
    ],
    ids=" ".join,
)
def test_what_harms_nobody_is_passed_on(items: list[str]) -> None:
    assert sentences(*items) == []


# Of `llama-server --help` of build 11434, and of builds before it.
REFUSED = """
    -m --model -a --alias --host --port --reuse-port --api-prefix --api-key --api-key-file
    --ssl-key-file --ssl-cert-file --tools --tools-runtime -ag --agent -no-ag --no-agent
    --mcp-servers-config --mcp-servers-json --ui-mcp-proxy --webui-mcp-proxy
    --no-ui-mcp-proxy --media-path --slot-save-path --path --log-file --log-prompts-dir
    --rpc --models-dir --models-preset --models-max --models-autoload --no-models-autoload
    -hf -hfr --hf-repo -hff --hf-file -hft --hf-token -hfd -hfrd --hf-repo-draft -hfv
    --spec-draft-hf -mu --model-url -mmu --mmproj-url -dr --docker-repo --config --props
    --chat-template-file --grammar-file -jf --json-schema-file -f --file -bf --binary-file
    --system-prompt-file --ui-config-file --webui-config-file --control-vector
    --control-vector-scaled -lcs --lookup-cache-static -lcd --lookup-cache-dynamic
    --video-ffmpeg-dir --logdir -ld --model-vocoder -h --help --usage --version -cl
    --cache-list --list-devices --completion-bash --embd-gemma-default
    --fim-qwen-7b-default --fim-qwen-7b-spec --gpt-oss-20b-default
    --vision-gemma-4b-default
"""


@pytest.mark.parametrize("flag", REFUSED.split())
def test_what_could_do_harm_is_refused_in_every_spelling(flag: str) -> None:
    found = sentences(flag, f"{flag}=x", f"{flag} x", f"{flag}\u00a0x")

    assert len(found) == 4
    assert all(sentence.startswith(f"{flag} is not passed on: ") for sentence in found)


@pytest.mark.parametrize("flag", ["--log_file", "--mcp_servers-config", "--api_key"])
def test_underscores_are_hyphens_as_they_are_to_llama_server(flag: str) -> None:
    (sentence,) = sentences(flag)

    assert sentence.startswith(f"{flag.replace('_', '-')} is not passed on: ")


@pytest.mark.parametrize("items", [["--port"], ["--temp", "--port"], ["--temp", "1", "--port"]])
def test_a_flag_is_refused_wherever_it_stands(items: list[str]) -> None:
    assert "--port is not passed on" in sentences(*items)[0]


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("-c", "ctx_size"),
        ("--ctx_size", "ctx_size"),
        ("--gpu-layers=9", "n_gpu_layers"),
        ("-fa", "flash_attn"),
        ("-no-kvu", "kv_unified"),
        ("--no-mmap", "load_mode"),
        ("--mlock", "load_mode"),
        ("--no-mmproj", "mmproj"),
        ("--lora-scaled", "lora"),
        ("--spec-draft-model", "model_draft"),
        ("-md", "model_draft"),
        ("--no-jinja", "jinja"),
    ],
)
def test_of_a_flag_that_has_a_setting_the_setting_is_named(flag: str, name: str) -> None:
    (sentence,) = sentences(flag)

    assert sentence.startswith(f"Set {name} instead of ")


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "extra_args"])
def test_every_setting_has_its_flag_refused(name: str) -> None:
    flag = f"--{name.replace('_', '-')}"

    assert sentences(flag) == [f"Set {name} instead of {flag}."]


@pytest.mark.parametrize("item", ["--temp=0.7", "--temp 0.7"])
def test_a_flag_and_its_value_are_two_items(item: str) -> None:
    assert sentences(item) == ["Give a flag and its value as two items."]


@pytest.mark.parametrize(
    "item", [1, None, True, "a\nb", "a\0b", "a\x85b", "\ud800", "x" * 4097]
)
def test_an_item_is_a_line_of_text(item: object) -> None:
    assert sentences("--temp", item) == ["Give a text of at most 4096 characters, on one line."]


def test_a_value_without_a_flag_before_it_is_none() -> None:
    assert sentences("0.7", "--temp") == ["A list of flags begins with a flag."]


def test_every_item_is_judged() -> None:
    places = [place for place, _ in judge_extra_args(["--escape", "--port", "1", "--rpc"])]

    assert places == ["[1]", "[3]"]


@pytest.mark.parametrize("flag", ["--slot-save-path", "--rpc", "--tools", "--props", "-mmu"])
def test_an_administrator_may_allow_a_flag_and_that_one_alone(flag: str) -> None:
    (refused,) = sentences(flag)
    allowed = list(judge_extra_args([flag, "x", "--log-file", "y"], allowed={flag}))

    assert refused.endswith("Who runs MAGI may allow it: MAGI_ALLOWED_EXTRA_ARGS.")
    assert [place for place, _ in allowed] == ["[2]"]


NEVER = [
    "-m", "--model", "-a", "--host", "--port", "--api-key", "--api-key-file", "--api-prefix",
    "--ssl-key-file", "--config", "-hf", "--model-url", "--embd-gemma-default", "--models-dir",
    "--help", "--version", "--ctx-size", "-ngl", "--lora",
]  # fmt: skip


@pytest.mark.parametrize("flag", NEVER)
def test_what_magi_sets_and_what_ends_a_server_nobody_allows(flag: str) -> None:
    assert never_allowed([flag, "--rpc"]) == {flag}
    assert list(judge_extra_args([flag], allowed={flag}))


def test_an_allowed_flag_has_one_spelling_for_underscores() -> None:
    assert not list(judge_extra_args(["--slot_save_path", "/x"], allowed={"--slot-save-path"}))
    assert never_allowed(["--api_key"]) == {"--api_key"}
