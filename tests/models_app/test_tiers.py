import pytest

from models_app.tiers import BALANCED, FAST, POWERFUL, TIERS, assign_tier, is_four_bits_or_fewer


@pytest.mark.parametrize(
    ("size_params", "quantization", "is_thinking", "expected"),
    [
        pytest.param(0.5, "Q4_K_M", True, POWERFUL, id="thinking, however small"),
        pytest.param(14.0, "Q2_K", False, POWERFUL, id="at the powerful threshold"),
        pytest.param(13.9, "Q2_K", False, BALANCED, id="below the powerful threshold"),
        pytest.param(0.99, "F16", False, FAST, id="below one billion at any quantization"),
        pytest.param(1.0, "F16", False, BALANCED, id="one billion in sixteen bits"),
        pytest.param(6.9, "Q4_K_M", False, FAST, id="below the fast threshold in four bits"),
        pytest.param(6.9, "Q5_K_M", False, BALANCED, id="below it in five bits"),
        pytest.param(7.0, "Q4_K_M", False, BALANCED, id="at the fast threshold"),
        pytest.param(4.0, "", False, BALANCED, id="quantization unknown"),
        pytest.param(None, "Q4_K_M", False, BALANCED, id="size unknown"),
        pytest.param(None, "", True, POWERFUL, id="size unknown, thinking"),
    ],
)
def test_assigns_the_tier(
    size_params: float | None, quantization: str, is_thinking: bool, expected: str
) -> None:
    assert assign_tier(size_params, quantization, is_thinking=is_thinking) == expected


def test_thresholds_can_be_moved() -> None:
    assert assign_tier(8.0, "Q4_0", is_thinking=False, powerful_min=8.0) == POWERFUL
    assert assign_tier(8.0, "Q4_0", is_thinking=False, fast_max=9.0) == FAST


def test_tiers_are_listed_from_light_to_heavy() -> None:
    assert TIERS == ("fast", "balanced", "powerful")


@pytest.mark.parametrize(
    "quantization",
    [
        "Q2_K",
        "Q3_K_S",
        "Q3_K_L",
        "Q4_0",
        "Q4_1",
        "Q4_K_S",
        "Q4_K_XL",
        "IQ1_S",
        "IQ2_XXS",
        "IQ3_M",
        "IQ4_NL",
        "IQ4_XS",
        "TQ1_0",
        "TQ2_0",
        "MXFP4",
        "MXFP4_MOE",
        "NVFP4",
        "Q4_0_8_8",
        "q4_k_m",
    ],
)
def test_belongs_to_the_four_bit_class(quantization: str) -> None:
    assert is_four_bits_or_fewer(quantization)


@pytest.mark.parametrize("quantization", ["Q5_0", "Q5_K_S", "Q6_K", "Q8_0", "F16", "BF16", ""])
def test_does_not_belong_to_the_four_bit_class(quantization: str) -> None:
    assert not is_four_bits_or_fewer(quantization)
