"""What callers hand over as photographs: too small to show anything is refused, and everything else that is none."""

import numpy as np
import pytest
from PIL import Image

from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.image_input import as_image, as_photograph


@pytest.mark.parametrize("size", [(1, 1), (27, 500), (500, 27)])
def test_a_photograph_smaller_than_one_token_is_refused(size, tmp_path):
    """It would be stretched and judged like any other."""
    pixels = np.zeros((*size, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "small.png")
    for value in (pixels, Image.fromarray(pixels), tmp_path / "small.png"):
        assert as_image(value).shape == (*size, 3)
        with pytest.raises(InputError, match="less than one token"):
            as_photograph(value, 28)
    assert as_photograph(np.zeros((28, 28), np.uint8), 28).shape == (28, 28, 3)


@pytest.mark.parametrize("value", [None, 5, np.zeros((4, 4), np.float32), np.zeros((0, 4, 3), np.uint8), [b"x"]])
def test_what_is_no_photograph_is_named(value):
    with pytest.raises(InputError, match="is no photograph"):
        as_image(value)
