"""Pictures varied at random: geometry against SciPy, colours by hand, draws by key."""

from __future__ import annotations

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from fastki.errors import UsageError
from fastki.training.augment import OFF, AugmentConfig, as_floats, augment, moved
from fastki.training.jitter import brightened, contrasted, recolored

KEY = jax.random.key(0)
vary = jax.jit(augment, static_argnums=2)


@pytest.fixture(scope="module")
def picture():
    """A smooth picture, float32 [24, 32, 3], 0 to 1, with nothing symmetric in it."""
    noise = np.random.default_rng(0).random((24, 32, 3))
    smooth = scipy.ndimage.gaussian_filter(noise, (2, 2, 0))
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


look = jax.jit(moved)


def window(picture, shift=(0.0, 0.0), scale=(1.0, 1.0), degrees=0.0):
    angle = jnp.array([np.deg2rad(degrees)], jnp.float32)
    return np.asarray(look(picture[None], jnp.array([shift], jnp.float32), jnp.array(scale, jnp.float32), angle))[0]


def by_scipy(picture, shift=(0.0, 0.0), scale=(1.0, 1.0), degrees=0.0):
    """The same by an affine transform of SciPy's: output pixel p shows middle + shift + scale · R · (p − middle)."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = np.diag(scale) @ turn
    middle = (np.array(picture.shape[:2]) - 1) / 2
    offset = middle + np.array(shift) - matrix @ middle
    channels = [
        scipy.ndimage.affine_transform(picture[..., c].astype(float), matrix, offset, order=1, mode="grid-constant")
        for c in range(3)
    ]
    return np.stack(channels, axis=-1)


@pytest.mark.parametrize("degrees", [0.0, 5.0, -5.0, 30.0, 90.0, 180.0])
def test_turning_is_scipys(picture, degrees):
    np.testing.assert_allclose(window(picture, degrees=degrees), by_scipy(picture, degrees=degrees), atol=2e-5)


def test_a_positive_angle_turns_as_scipys_rotate(picture):
    square = picture[:, :24]
    turned = scipy.ndimage.rotate(square, 90.0, reshape=False, order=1)
    assert np.abs(window(square, degrees=90.0) - np.rot90(square, 1)).max() < 1e-5
    np.testing.assert_allclose(window(square, degrees=90.0), turned, atol=1e-5)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.0, -1.0), (-0.6, 0.4)])
def test_cropping_and_resizing_is_scipys(picture, shift):
    scale = (22 / 24, 30 / 32)
    np.testing.assert_allclose(window(picture, shift, scale), by_scipy(picture, shift, scale), atol=2e-5)
    np.testing.assert_allclose(window(picture, shift, scale, 4.0), by_scipy(picture, shift, scale, 4.0), atol=2e-5)


def test_a_window_on_half_a_picture_shows_that_half_enlarged():
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None], (8, 8, 3))
    shown = window(ramp, scale=(0.5, 0.5))
    np.testing.assert_allclose(shown[:, 0, 0], 3.5 + 0.5 * (np.arange(8) - 3.5), atol=1e-6)


def test_beyond_the_edge_is_black():
    white = np.ones((9, 9, 3), np.float32)
    shown = window(white, shift=(4.0, 0.0))
    assert (shown[:5] == 1).all()
    assert (shown[5:] == 0).all()


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(0.0, [0.0, 0.25, 1.0]), (-0.2, [0.0, 0.2, 0.8]), (0.2, [0.2, 0.4, 1.0])],
)
def test_brightness_by_hand(amount, expected):
    np.testing.assert_allclose(brightened(jnp.array([0.0, 0.25, 1.0]), jnp.float32(amount)), expected, atol=1e-6)


def test_contrast_by_hand():
    slope = np.tan(1.2 * np.pi / 4)
    knee = slope / (2 * (1 + slope))
    steep = contrasted(jnp.array([0.0, 0.1, 0.5, 0.6, 0.9, 1.0], jnp.float32), jnp.float32(0.2))
    np.testing.assert_allclose(steep, [0, 0.1 / slope, 0.5, 0.5 + 0.1 * slope, 1 - 0.1 / slope, 1], atol=1e-6)
    assert 0.1 < knee < 0.5
    values = jnp.linspace(0, 1, 101)
    for amount in (-0.9, -0.4, 0.0, 0.4, 0.9):
        changed = np.asarray(contrasted(values, jnp.float32(amount)))
        assert (np.diff(changed) > 0).all()
        assert (changed[0], changed[-1]) == pytest.approx((0, 1))
    np.testing.assert_allclose(contrasted(values, jnp.float32(0.0)), values, atol=1e-6)


@pytest.mark.parametrize("amounts", [(0, 0, 0, 0), (0.2, 0, 0, 0), (-0.3, 0.3, -0.4, 0), (0.1, -0.2, 0.45, 0.3)])
def test_colours_are_those_of_pythons_own_hsv(amounts):
    colors = np.random.default_rng(1).random((1, 6, 7, 3)).astype(np.float32)
    colors[0, 0] = [[0, 0, 0], [1, 1, 1], [0.4, 0.4, 0.4], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.2, 0.9, 0.9]]
    changed = np.asarray(recolored(colors, jnp.array([amounts], jnp.float32)))[0].reshape(-1, 3)
    for before, after in zip(colors.reshape(-1, 3).tolist(), changed, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        value = contrasted(brightened(jnp.float32(value), jnp.float32(amounts[0])), jnp.float32(amounts[1]))
        expected = colorsys.hsv_to_rgb((hue + amounts[3]) % 1, min(1.0, saturation * (1 + amounts[2])), float(value))
        np.testing.assert_allclose(after, expected, atol=2e-5)


@pytest.fixture(scope="module")
def images(picture):
    batch = jnp.asarray(np.repeat(picture[None], 6, axis=0) * 2 - 1)
    return {"base_0_rgb": batch, "left_wrist_0_rgb": batch}


def test_every_picture_has_its_own_draw_which_the_key_decides(images):
    one, same, other = vary(KEY, images), vary(KEY, images), vary(jax.random.key(1), images)
    for name in images:
        np.testing.assert_array_equal(one[name], same[name])
        assert (np.asarray(one[name]) != np.asarray(other[name])).any()
    base = np.asarray(one["base_0_rgb"])
    assert len({picture.tobytes() for picture in base}) == 6


def test_a_draw_does_not_depend_on_other_cameras_pictures(images):
    changed = images | {"left_wrist_0_rgb": -images["left_wrist_0_rgb"]}
    np.testing.assert_array_equal(vary(KEY, images)["base_0_rgb"], vary(KEY, changed)["base_0_rgb"])


def test_range_and_shape_stay():
    rng = np.random.default_rng(0)
    hard = {"base_0_rgb": jnp.asarray(rng.choice([-1.0, 1.0], (16, 12, 12, 3)).astype(np.float32))}
    strong = AugmentConfig(0.5, 45, 0.9, 0.9, 0.9, 0.5, 1.0)
    varied = np.asarray(vary(KEY, hard, strong)["base_0_rgb"])
    assert varied.shape == (16, 12, 12, 3)
    assert varied.dtype == np.float32
    assert -1 <= varied.min() < varied.max() <= 1
    assert np.isfinite(varied).all()


def test_strengths_of_zero_change_nothing(images):
    for name, varied in augment(KEY, images, OFF).items():
        np.testing.assert_array_equal(varied, images[name])
    no_jitter = vary(KEY, images, AugmentConfig(jitter_probability=0.0))
    np.testing.assert_array_equal(no_jitter["left_wrist_0_rgb"], images["left_wrist_0_rgb"])
    assert (np.asarray(no_jitter["base_0_rgb"]) != np.asarray(images["base_0_rgb"])).any()
    np.testing.assert_allclose(
        vary(KEY, images, AugmentConfig(1.0, 0.0, 1e-6, 1e-6, 1e-6, 0.0, 1.0))["base_0_rgb"],
        images["base_0_rgb"],
        atol=1e-4,
    )


def test_cameras_at_a_wrist_are_not_moved(images):
    still = vary(KEY, images, AugmentConfig(brightness=0, contrast=0, saturation=0))
    np.testing.assert_array_equal(still["left_wrist_0_rgb"], images["left_wrist_0_rgb"])
    assert np.abs(np.asarray(still["base_0_rgb"]) - np.asarray(images["base_0_rgb"])).max() > 0.05


def test_half_of_the_pictures_are_jittered():
    grey = {"right_wrist_0_rgb": jnp.zeros((400, 2, 2, 3), jnp.float32)}
    varied = np.asarray(vary(KEY, grey)["right_wrist_0_rgb"])
    assert 0.4 < (np.abs(varied) > 1e-6).any(axis=(1, 2, 3)).mean() < 0.6


def test_crops_reach_every_side_and_keep_the_share():
    ramp = jnp.asarray(np.broadcast_to(np.linspace(-1, 1, 41, dtype=np.float32)[:, None, None], (200, 41, 41, 3)))
    varied = np.asarray(vary(KEY, {"base_0_rgb": ramp}, AugmentConfig(0.95, 0, 0, 0, 0))["base_0_rgb"])
    top, bottom = varied[:, 0, 20, 0], varied[:, -1, 20, 0]
    kept = 2 * int(41 * 0.95) / 41
    assert np.median(bottom - top) == pytest.approx(kept, abs=1e-5)
    # A crop at the very edge looks up to 0.04 of a pixel beyond the middle of the last one.
    np.testing.assert_allclose(bottom - top, kept, atol=0.08)
    assert top.min() < -0.99
    assert bottom.max() > 0.99


def test_bytes_become_minus_one_to_one():
    values = as_floats({"base_0_rgb": jnp.array([0, 51, 255], jnp.uint8)})["base_0_rgb"]
    np.testing.assert_allclose(values, [-1, -0.6, 1], atol=1e-6)
    assert values.dtype == jnp.float32


@pytest.mark.parametrize(
    "field", [{"crop": 0}, {"crop": 1.1}, {"rotate": -1}, {"brightness": 1}, {"hue": 0.6}, {"jitter_probability": 2}]
)
def test_strengths_out_of_range_are_refused(field):
    with pytest.raises(UsageError, match=f"augment.{next(iter(field))} .* is out of range"):
        AugmentConfig(**field)
