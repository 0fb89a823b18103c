"""The accountant against two libraries and the closed form; the bound on an update; what is known of local noise."""

from fractions import Fraction

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import pld_privacy_accountant
from dp_accounting.rdp import rdp_privacy_accountant
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from opacus.accountants import RDPAccountant
from scipy import stats

from middleware.maths.privacy import accountant, clip, local, shuffle

DELTA = Fraction(1, 100_000)


def words(seed):
    generator = np.random.Generator(np.random.PCG64(seed))
    return lambda count: generator.integers(0, 1 << 64, count, dtype=np.uint64)


def test_central_dp_one_gaussian_costs_its_closed_form():
    assert accountant.gaussian_epsilon(1.0, 1e-5) == pytest.approx(4.377178, abs=1e-6)
    pld = pld_privacy_accountant.PLDAccountant()
    pld.compose(dp_event.GaussianDpEvent(1.0))
    assert pld.get_epsilon(1e-5) == pytest.approx(4.377178, abs=1e-3)
    assert accountant.spent(1, Fraction(1), Fraction(1), DELTA) / accountant.MICRO >= 4.377178


CASES = [(Fraction(1, 10), 1, 40), (Fraction(1), 8, 30), (Fraction(256, 60000), Fraction(11, 10), 14040)]


@pytest.mark.parametrize(("rate", "noise", "rounds"), CASES)
def test_central_dp_two_accountants_agree(rate, noise, rounds):
    ours = accountant.spent(rounds, rate, Fraction(noise), DELTA) / accountant.MICRO
    theirs = rdp_privacy_accountant.RdpAccountant(orders=list(accountant.ORDERS))
    event = dp_event.PoissonSampledDpEvent(float(rate), dp_event.GaussianDpEvent(float(noise)))
    theirs.compose(event, rounds)
    assert ours == pytest.approx(theirs.get_epsilon(1e-5), abs=1e-3)
    tight = pld_privacy_accountant.PLDAccountant(value_discretization_interval=1e-3)
    tight.compose(event, rounds)
    assert tight.get_epsilon(1e-5) <= ours + 0.02


def test_dp_sgd_our_accountant_and_opacus_agree_on_the_catalogues_figure():
    opacus = RDPAccountant()
    opacus.history = [(1.1, 256 / 60000, 14040)]
    theirs = opacus.get_epsilon(1e-5, alphas=list(accountant.ORDERS))
    ours = accountant.spent(14040, Fraction(256, 60000), Fraction(11, 10), DELTA) / accountant.MICRO
    assert ours == pytest.approx(theirs, abs=1e-3)
    assert ours == pytest.approx(2.594, abs=2e-3)


def test_central_dp_the_last_affordable_round_is_the_last():
    rate, noise = Fraction(1, 10), Fraction(1)
    last = accountant.affordable(4_000_000, rate, noise, DELTA, 10_000)
    assert accountant.spent(last, rate, noise, DELTA) <= 4_000_000 < accountant.spent(last + 1, rate, noise, DELTA)


def test_central_dp_the_needed_noise_is_the_least():
    noise = accountant.needed_noise(8_000_000, 20, Fraction(1), DELTA, 256)
    assert accountant.spent(20, Fraction(1), noise, DELTA) <= 8_000_000
    assert accountant.spent(20, Fraction(1), noise - Fraction(1, 256), DELTA) > 8_000_000


@given(arrays(np.int16, 50, elements=st.integers(-32767, 32767)), st.integers(1, 300_000))
def test_central_dp_a_clipped_update_is_never_longer_than_the_bound_and_keeps_its_direction(update, bound):
    clipped = clip.clip(update, bound)
    assert clip.within(clipped, bound)
    assert (np.abs(clipped.astype(int)) <= np.abs(update.astype(int))).all()
    assert (clipped.astype(int) * update.astype(int) >= 0).all()
    assert clipped.dtype == update.dtype
    if not clip.within(update, bound):
        assert clip.squared_length(clipped) ** 0.5 >= bound - 50**0.5 - 1


def test_ldp_frequency_estimates_are_unbiased():
    answers = np.repeat([0, 1, 2, 3], [40_000, 30_000, 20_000, 10_000])
    estimates = [local.frequencies(local.randomised_response(answers, 1.0, 4, words(s)), 1.0, 4) for s in range(8)]
    assert np.mean(estimates, axis=0) == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.006)


def test_ldp_the_observed_loss_never_passes_the_claim():
    """Two neighbours, 100,000 runs each: the 99.9 % lower bound of the log ratio stays below epsilon."""
    runs, claim = 100_000, 1.0
    seen = [
        (local.randomised_response(np.full(runs, answer), claim, 2, words(4 + answer)) == 0).sum() for answer in (0, 1)
    ]
    low = stats.beta.ppf(0.001, seen[0], runs - seen[0] + 1)
    high = stats.beta.ppf(0.999, seen[1] + 1, runs - seen[1])
    assert 0.9 < np.log(low / high) <= claim
    drawn = [local.laplace(np.full(runs, at), 3, Fraction(1), words(6 + at)) >= 3 for at in (3, 0)]
    low = stats.beta.ppf(0.001, drawn[0].sum(), runs - drawn[0].sum() + 1)
    high = stats.beta.ppf(0.999, drawn[1].sum() + 1, runs - drawn[1].sum())
    assert 0.9 < np.log(low / high) <= claim


def test_shuffle_dp_the_claim_is_below_the_local_one_and_falls_with_the_root_of_the_clients():
    few, many = (shuffle.amplified(0.5, clients, 1e-6) for clients in (10_000, 1_000_000))
    assert many < few < 0.5
    assert few / many == pytest.approx(10, rel=0.1)
    assert shuffle.amplified(5.0, 100, 1e-6) == 5.0


def test_shuffle_dp_every_permutation_is_alike():
    stream = words(2)
    seen: dict[tuple[int, ...], int] = {}
    for _ in range(4800):
        order = tuple(int(x) for x in shuffle.permutation(4, stream))
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 24
    assert stats.chisquare(list(seen.values())).pvalue > 1e-3
