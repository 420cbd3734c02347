"""Pictures at the model's size, as openpi's data path makes them."""

from __future__ import annotations

import numpy as np
import pytest

from fastki.errors import UsageError
from fastki.sequence.resize import resize_with_pad


@pytest.mark.parametrize("case", [0, 1, 2])
@pytest.mark.parametrize("size", [32, 64])
def test_openpis_pictures_are_reproduced(shared, case, size):
    golden = np.load(shared / "golden" / "openpi" / "units" / "resize.npz")
    picture = golden[f"{case}/in"]
    ours = resize_with_pad(picture, size, size)
    np.testing.assert_array_equal(ours, golden[f"{case}/client_pil_uint8_{size}x{size}"])
    # Training in openpi may also resize by JAX, whose interpolation rounds otherwise at a few pixels.
    assert np.abs(ours.astype(int) - golden[f"{case}/jax_uint8_{size}x{size}"]).max() <= 1


def test_a_picture_of_that_size_is_not_copied():
    picture = np.zeros((8, 8, 3), np.uint8)
    assert resize_with_pad(picture, 8, 8) is picture


def test_padding_is_black_and_in_the_middle():
    small = resize_with_pad(np.full((4, 8, 3), 200, np.uint8), 8, 8)
    assert (small[2:6] == 200).all()
    assert not small[[0, 1, 6, 7]].any()
    assert resize_with_pad(np.full((1, 500, 3), 9, np.uint8), 8, 8).any()


@pytest.mark.parametrize(
    "picture",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_picture_is_refused(picture):
    with pytest.raises(UsageError, match="a picture is uint8"):
        resize_with_pad(picture, 8, 8)
    with pytest.raises(UsageError, match="1 or more pixels"):
        resize_with_pad(np.zeros((4, 4, 3), np.uint8), 0, 8)
