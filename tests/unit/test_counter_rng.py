"""The loaders' random draws: functions of (seed, epoch, image, stream) alone, and spread as claimed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.augment import counter_rng

KEYS = np.arange(20_000)


def test_the_bits_are_the_same_on_every_machine_and_version():
    assert counter_rng.epoch_order(0, 0, 8).tolist() == [2, 0, 5, 1, 4, 6, 7, 3]
    assert counter_rng.hash_keys(
        counter_rng.stream_base(7, 3, counter_rng.FLIP), [0, 1, 2**40]
    ).tolist() == [
        15443422458516101453,
        822904722511768982,
        2841228691491202968,
    ]


@given(st.integers(0, 2**64 - 1), st.integers(0, 10_000), st.integers(0, 300))
def test_an_epochs_order_is_a_permutation(seed, epoch, n):
    assert sorted(counter_rng.epoch_order(seed, epoch, n).tolist()) == list(range(n))


def test_seed_epoch_and_stream_each_change_the_order():
    order = counter_rng.epoch_order(0, 0, 100).tolist()
    assert order != counter_rng.epoch_order(1, 0, 100).tolist()
    assert order != counter_rng.epoch_order(0, 1, 100).tolist()
    assert counter_rng.epoch_order(1, 0, 100).tolist() != counter_rng.epoch_order(0, 1, 100).tolist()


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=20), st.randoms())
def test_a_draw_depends_on_its_own_key_only(keys, shuffler):
    moved = list(enumerate(keys))
    shuffler.shuffle(moved)
    ys, xs = counter_rng.draw_offsets(5, 2, keys, 32)
    other_ys, other_xs = counter_rng.draw_offsets(5, 2, [key for _, key in moved], 32)
    assert other_ys.tolist() == [ys[place] for place, _ in moved]
    assert other_xs.tolist() == [xs[place] for place, _ in moved]


@given(st.integers(0, 2**63), st.integers(0, 500))
def test_crop_offsets_lie_between_zero_and_the_spare_room(seed, spare):
    for offsets in counter_rng.draw_offsets(seed, 0, KEYS[:100], spare):
        assert offsets.min() >= 0
        assert offsets.max() <= spare


def test_crop_offsets_are_uniform_with_both_ends_and_independent():
    """chi-squared with 32 degrees of freedom: 100 is beyond 1e-8 of chance; a correlation of 0.03 is 4 sigma."""
    ys, xs = counter_rng.draw_offsets(1, 4, KEYS, 32)
    for offsets in (ys, xs):
        counts = np.bincount(offsets, minlength=33)
        assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 100
    assert abs(np.corrcoef(ys, xs)[0, 1]) < 0.03
    assert abs(np.corrcoef(ys[1:], ys[:-1])[0, 1]) < 0.03


def test_half_the_images_are_mirrored_whatever_their_crop():
    """20,000 coins: 0.015 is 4 sigma."""
    flips = counter_rng.draw_flips(1, 4, KEYS)
    assert abs(flips.mean() - 0.5) < 0.015
    assert abs(np.corrcoef(flips, counter_rng.draw_offsets(1, 4, KEYS, 32)[0])[0, 1]) < 0.03


def test_normals_have_mean_zero_variance_one_and_no_correlation():
    """20,000 draws: 0.03 is 4 sigma for mean and correlation, 0.04 for the variance."""
    normals = counter_rng.draw_normals(3, 1, KEYS, 3)
    assert normals.shape == (20_000, 3)
    assert normals.dtype == np.float64
    assert np.abs(normals.mean(0)).max() < 0.03
    assert np.abs(np.cov(normals.T) - np.eye(3)).max() < 0.04
    assert np.isfinite(normals).all()


def test_uniforms_fill_the_half_open_unit_interval():
    uniforms = counter_rng.draw_uniforms(3, 1, KEYS, 2, counter_rng.ROTATE)
    assert uniforms.shape == (20_000, 2)
    assert uniforms.min() >= 0
    assert uniforms.max() < 1
    assert np.abs(uniforms.mean(0) - 0.5).max() < 0.01


def test_more_values_per_image_keep_the_first_ones():
    few, many = (
        counter_rng.draw_uniforms(3, 1, KEYS[:5], count, counter_rng.SCALE) for count in (1, 4)
    )
    assert (many[:, :1] == few).all()


@pytest.mark.parametrize(("share", "keys"), [(1, [9, 4, 7, 2, 5]), (2, [9, 9, 7, 7, 5]), (8, [9] * 5)])
def test_consecutive_images_share_the_first_ones_key(share, keys):
    assert counter_rng.draw_keys([9, 4, 7, 2, 5], share).tolist() == keys
