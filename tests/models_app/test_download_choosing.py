import pytest

from models_app.downloads.choosing import RepoFile, bits_of, choose, is_safe, variants
from models_app.errors import NoQuantError, UnsupportedDownloadError


def repo(*paths: str) -> list[RepoFile]:
    return [RepoFile(path, 10) for path in paths]


def chosen(asked: str, *paths: str) -> list[str]:
    variant, _ = choose(variants(repo(*paths)), asked, "org/repo")
    return [file.path for file in variant.all_files]


@pytest.mark.parametrize(
    ("asked", "names", "expected"),
    [
        pytest.param("", "m-Q8_0 m-Q4_K_M", "m-Q4_K_M", id="usual"),
        pytest.param("", "m-Q8_0 m-Q4_K_S m-Q4_0", "m-Q4_K_S", id="near"),
        pytest.param("", "m-F16 m-Q8_0", "m-Q8_0", id="nearest there is"),
        pytest.param("q8_0", "m-Q8_0 m-Q4_K_M", "m-Q8_0", id="either case"),
        pytest.param("FP16", "m-F16 m-Q4_0", "m-F16", id="another spelling"),
        pytest.param(
            "UD-Q4_K_XL", "m-Q4_K_XL m-UD-Q4_K_XL", "m-UD-Q4_K_XL", id="end of a name"
        ),
        pytest.param("m-q8_0.gguf", "x-m-Q8_0 m-Q8_0", "m-Q8_0", id="name"),
        pytest.param("Q4_0", "Q4_0/model Q8_0/model", "Q4_0/model", id="folders"),
        pytest.param(
            "",
            "m-Q4_K_M-00002-of-00002 m-Q4_K_M-00001-of-00002",
            "m-Q4_K_M-00001-of-00002 m-Q4_K_M-00002-of-00002",
            id="shards",
        ),
        pytest.param(
            "",
            "m-4b-Q4_K_M mmproj-m-4b-F32 mmproj-m-4b-F16",
            "m-4b-Q4_K_M mmproj-m-4b-F16",
            id="projector",
        ),
        pytest.param(
            "", "m-4b-Q4_K_M mmproj-m-12b-F16", "m-4b-Q4_K_M", id="projector of another size"
        ),
        pytest.param("", "m.imatrix m", "m", id="no quantization"),
    ],
)
def test_the_files_of_one_model_are_chosen(asked: str, names: str, expected: str) -> None:
    paths = [f"{name}.gguf" for name in names.split()]

    assert chosen(asked, *paths) == [f"{name}.gguf" for name in expected.split()]


def test_what_was_chosen_instead_of_the_usual_is_said() -> None:
    _, note = choose(variants(repo("m-Q8_0.gguf", "m-Q4_K_S.gguf")), "", "org/repo")

    assert note.startswith("Q4_K_S: the nearest to Q4_K_M")


def test_a_quantization_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(NoQuantError, match=r"has no Q2_K. It has Q4_0, Q8_0\."):
        chosen("Q2_K", "m-Q8_0.gguf", "m-Q4_0.gguf")


@pytest.mark.parametrize("paths", [[], ["model.safetensors"], ["mmproj-F16.gguf"]])
def test_a_repo_without_a_gguf_model_is_no_use(paths: list[str]) -> None:
    with pytest.raises(UnsupportedDownloadError, match="no GGUF model"):
        chosen("", *paths)


def test_a_set_of_shards_with_a_gap_is_refused() -> None:
    why = r"1 of the 3 files of Q4_K_M\. Look for another repo\."
    with pytest.raises(UnsupportedDownloadError, match=why):
        chosen("", "m-Q4_K_M-00002-of-00003.gguf")


@pytest.mark.parametrize(
    "path",
    ["../x.gguf", "/x.gguf", "a//x.gguf", "a/./x.gguf", "a\\x.gguf", "x\0.gguf", "x\n.gguf",
     "", "a" * 256, "a/" * 260 + "x.gguf"],
)  # fmt: skip
def test_paths_that_lead_elsewhere_are_unsafe(path: str) -> None:
    assert not is_safe(path)


def test_bits_order_quantizations() -> None:
    names = ["IQ1_S", "Q2_K", "Q3_K_M", "IQ4_XS", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"]

    assert sorted([*names, "F16", "F32", ""], key=bits_of) == [*names, "F16", "F32", ""]
