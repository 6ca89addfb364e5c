"""Which model somebody means."""

import pytest

from profiles_app.models import ProfileMember
from servers_app.errors import AmbiguousNameError, UnknownNameError
from servers_app.manager.names import may_be_pulled, name_of, origin_of, resolve
from tests.conftest import MakeModel, MakeProfile

pytestmark = pytest.mark.django_db


def ollamas(make_model: MakeModel, model_id: str, name: str) -> None:
    make_model(model_id, identity=f"ollama:registry.ollama.ai/library/{name}", repo_id=name)


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        pytest.param("qwen_q4", "qwen_q4", id="an id"),
        pytest.param("gpt-4o", "mistral", id="an alias"),
        pytest.param("mistral:7b", "mistral", id="Ollama's name"),
        pytest.param("MISTRAL:7B", "mistral", id="in another case"),
        pytest.param("mistral", "mistral", id="its id, before its only tag"),
        pytest.param("registry.ollama.ai/library/mistral:7b", "mistral", id="in full"),
        pytest.param("llama2", "llama", id="of several tags, latest"),
        pytest.param("Qwen/Qwen3-4B-GGUF:Q4_K_M", "qwen_q4", id="the hub's"),
        pytest.param("hf.co/qwen/qwen3-4b-gguf:q8_0", "qwen_q8", id="with its host"),
        pytest.param("Qwen 3 4B Q8_0", "qwen_q8", id="a display name"),
        pytest.param("Qwen3-4B-Q8_0.gguf", "qwen_q8", id="a file name"),
        pytest.param("qwen3-4b-q8_0", "qwen_q8", id="without its end"),
    ],
)
def test_a_model_goes_by_many_names(
    make_model: MakeModel, make_profile: MakeProfile, name: str, model_id: str
) -> None:
    repo = "Qwen/Qwen3-4B-GGUF"
    make_model("qwen_q4", repo_id=repo, quantization="Q4_K_M")
    make_model(
        "qwen_q8",
        repo_id=repo,
        quantization="Q8_0",
        display_name="QWEN 3 4B Q8_0",
        filename="Qwen3-4B-Q8_0.gguf",
    )
    ollamas(make_model, "mistral", "mistral:7b")
    ollamas(make_model, "llama", "llama2:latest")
    ollamas(make_model, "llama_13", "llama2:13b")
    profile = make_profile("mine", is_active=True)
    ProfileMember.objects.create(profile=profile, model_id="mistral", aliases=["gpt-4o"])

    assert resolve(name).model_id == model_id


@pytest.mark.parametrize(
    ("tag", "model_id"),
    [
        pytest.param("BF16", "wide", id="itself"),
        pytest.param("FP16", "half", id="in other words"),
        pytest.param("Tiny-1B-Q4_K_M", "shards", id="a file, of several shards"),
        pytest.param("UD-Q8_0", "dynamic", id="the end of a file's name"),
    ],
)
def test_a_quantization_is_the_one_that_a_download_would_choose(
    make_model: MakeModel, tag: str, model_id: str
) -> None:
    files = {
        "half": ("F16", "Tiny-1B-F16.gguf"),
        "wide": ("BF16", "Tiny-1B-BF16.gguf"),
        "shards": ("Q4_K_M", "Tiny-1B-Q4_K_M-00001-of-00002.gguf"),
        "dynamic": ("", "Tiny-1B-UD-Q8_0.gguf"),
    }
    for name, (quantization, filename) in files.items():
        make_model(name, repo_id="org/Tiny-GGUF", quantization=quantization, filename=filename)

    assert resolve(f"org/Tiny-GGUF:{tag}").model_id == model_id


@pytest.mark.parametrize("tag", ["F16", "Q4_K", "8_0x"])
def test_one_that_only_looks_like_it_is_another(make_model: MakeModel, tag: str) -> None:
    for quantization in ("BF16", "Q4_K_M", "Q8_0"):
        make_model(
            quantization.lower(),
            repo_id="org/Tiny-GGUF",
            quantization=quantization,
            filename=f"Tiny-1B-{quantization}.gguf",
        )

    with pytest.raises(UnknownNameError):
        resolve(f"org/Tiny-GGUF:{tag}")


def test_a_model_of_ollamas_is_called_as_there_and_another_by_its_id(
    make_model: MakeModel,
) -> None:
    ollamas(make_model, "mistral", "mistral:7b")
    make_model("qwen", repo_id="Qwen/Qwen3-4B-GGUF")

    assert [name_of(resolve(name)) for name in ("mistral", "qwen")] == ["mistral:7b", "qwen"]


@pytest.mark.parametrize("name", ["Qwen/Qwen3-4B-GGUF", "QWEN"])
def test_where_several_are_meant_all_are_named(make_model: MakeModel, name: str) -> None:
    for model_id in ("one", "two"):
        make_model(model_id, repo_id="Qwen/Qwen3-4B-GGUF", display_name="Qwen")

    with pytest.raises(AmbiguousNameError, match=r"2 models: one, two\. Give an id"):
        resolve(name)


@pytest.mark.parametrize(
    "name", ["nobody", "", "\0", "x" * 400, "no/such", "../../etc", "a:b:c"]
)
def test_a_name_that_nobody_goes_by_is_told_what_there_is(
    make_model: MakeModel, name: str
) -> None:
    make_model("here")
    ollamas(make_model, "mistral", "mistral:7b")

    with pytest.raises(UnknownNameError, match="Available: here, mistral:7b"):
        resolve(name)


def test_among_many_the_nearest_are_told(make_model: MakeModel) -> None:
    with pytest.raises(UnknownNameError, match="No model is registered yet"):
        resolve("qwen")
    for number in range(12):
        make_model(f"llama{number}")
    make_model("qwen3_4p0b")

    with pytest.raises(UnknownNameError, match="Nearest among 13: qwen3_4p0b"):
        resolve("qwen3_4b")
    with pytest.raises(UnknownNameError, match="Nothing among 13 is like it"):
        resolve("zzzzzzz")


def test_a_model_whose_file_is_gone_goes_by_its_id_alone(make_model: MakeModel) -> None:
    make_model("gone", is_missing=True, display_name="Gone for good")

    assert resolve("gone").is_missing
    with pytest.raises(UnknownNameError):
        resolve("Gone for good")


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        pytest.param({"repo_id": "org/Tiny-GGUF"}, "org/Tiny-GGUF:Q4_K_M", id="the hub's"),
        pytest.param(
            {"repo_id": "tiny:1b", "identity": "ollama:registry.ollama.ai/library/tiny:1b"},
            "tiny:1b",
            id="Ollama's",
        ),
        pytest.param(
            {"repo_id": "ada/tiny:1b", "identity": "ollama:registry.ollama.ai/ada/tiny:1b"},
            "registry.ollama.ai/ada/tiny:1b",
            id="somebody's at Ollama's",
        ),
    ],
)
def test_a_model_is_fetched_again_from_where_it_came(
    make_model: MakeModel, fields: dict[str, str], name: str
) -> None:
    assert origin_of(make_model("m", **fields)) == name


def test_a_hub_is_asked_for_names_that_it_could_have() -> None:
    assert all(map(may_be_pulled, ("mistral:7b", "org/repo:Q4_K_M")))
    assert not any(map(may_be_pulled, ("two words", "/etc/passwd", "a:b:c", "")))
