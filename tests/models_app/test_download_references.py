import pytest

from models_app.downloads.references import checked_revision, parse_reference
from models_app.errors import InvalidReferenceError


@pytest.mark.parametrize(
    ("text", "source", "found"),
    [
        ("org/repo", "", ("hub", "org/repo", "")),
        ("org/repo:q4_k_m", "", ("hub", "org/repo", "Q4_K_M")),
        ("hf.co/org/repo:UD-Q4_K_XL", "", ("hub", "org/repo", "UD-Q4_K_XL")),
        ("https://huggingface.co/org/repo/", "", ("hub", "org/repo", "")),
        ("org/repo:model-q8_0.gguf", "", ("hub", "org/repo", "model-q8_0.gguf")),
        ("qwen3", "", ("ollama", "library/qwen3", "latest")),
        ("qwen3:4b", "", ("ollama", "library/qwen3", "4b")),
        ("someone/qwen3:4b", "ollama", ("ollama", "someone/qwen3", "4b")),
        ("ollama.com/library/qwen3", "", ("ollama", "library/qwen3", "latest")),
        ("registry.ollama.ai/someone/x:y", "", ("ollama", "someone/x", "y")),
    ],
)
def test_a_reference_says_where_and_what(
    text: str, source: str, found: tuple[str, str, str]
) -> None:
    reference = parse_reference(text, source=source)

    assert (reference.source, reference.repo, reference.tag) == found
    assert parse_reference(str(reference), source=reference.source) == reference


@pytest.mark.parametrize(
    "text",
    [
        "", "/etc/passwd", "./model.gguf", "../x/y", "~/models/x", "a/b/c", "org/../x",
        "org/repo:", "a b/c", "org/re\0po", "org/repo:../x", "https://example.org/org/repo",
        "x" * 301, "org/.hidden", "qwen3:a/b", "org\\repo", "org/repo:Q4\n",
    ],
)  # fmt: skip
def test_what_names_no_model_is_refused(text: str) -> None:
    with pytest.raises(InvalidReferenceError, match=r"Give org/repo|no source"):
        parse_reference(text if text != "org/repo:Q4\n" else "org/repo:Q4\nx")


def test_another_source_is_refused() -> None:
    with pytest.raises(InvalidReferenceError, match="use hub or ollama"):
        parse_reference("org/repo", source="civitai")


def test_a_hub_named_a_hub_has_two_parts() -> None:
    with pytest.raises(InvalidReferenceError):
        parse_reference("qwen3", source="hub")


@pytest.mark.parametrize("text", ["main", "v1.0", "refs/pr/3", "a" * 40, ""])
def test_revisions_are_branches_tags_and_commits(text: str) -> None:
    assert checked_revision(text) == text


@pytest.mark.parametrize("text", ["../x", "/x", "a..b", "a b", "x" * 101, "a/", "a\0"])
def test_a_revision_is_no_path(text: str) -> None:
    with pytest.raises(InvalidReferenceError):
        checked_revision(text)
