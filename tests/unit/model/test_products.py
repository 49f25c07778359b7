from __future__ import annotations

from typing import Any

import pytest
import torch

from realm.model.bert import Activation
from realm.model.products import OneDnnProduct, PlainProduct, has_onednn


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", [None, torch.nn.functional.gelu, torch.nn.functional.relu])
def test_a_product_of_onednn_is_the_plain_one(
    dtype: torch.dtype, activation: Activation | None
) -> None:
    if not has_onednn(dtype):
        pytest.skip(f"oneDNN does not multiply {dtype} here")
    torch.manual_seed(0)
    weight, bias = torch.randn(24, 16).to(dtype), torch.randn(24).to(dtype)
    x, residual = torch.randn(7, 16).to(dtype), torch.randn(7, 24).to(dtype)
    fused, plain = OneDnnProduct(weight, bias, activation), PlainProduct(weight, bias, activation)
    # bfloat16 has 8 bits: the plain way rounds between its steps.
    close: dict[str, Any] = {"rtol": 2**-7, "atol": 2**-6} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(fused(x), plain(x), **close)
    torch.testing.assert_close(fused.plus(x, residual), plain.plus(x, residual), **close)
