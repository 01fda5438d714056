"""Learning: EM climbs, SGD gets there too, nothing is compiled twice, and interrupted fits go on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ssm
from ssm.fitting.sgd_steps import shuffled_batches

KEY = jax.random.key(0)
FEW = settings(max_examples=4, deadline=None, derandomize=True)


def model(loc=(-1.0, 1.5)) -> ssm.HMM:
    return ssm.HMM([0.6, 0.4], [[0.8, 0.2], [0.3, 0.7]], ssm.emissions.Normal(list(loc), [1.0, 0.8]))


def series(length: int = 60, *lead: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    states = (np.arange(length) // 7) % 2
    return rng.normal(np.where(states, 2.0, -1.0), 0.7, (*lead, length)).astype(np.float32)


class Compilations:
    """Counts programs that JAX compiles inside a `with` block."""

    def __enter__(self):
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        return self

    def __exit__(self, *error):
        jax.monitoring.unregister_event_duration_listener(self._hear)

    def _hear(self, event: str, duration: float, **_):
        self.count += event == "/jax/core/compile/backend_compile_duration"


# -- EM -------------------------------------------------------------------------------------------------------


def emission(family: str, ys: np.ndarray):
    if family == "Categorical":
        return ssm.emissions.Categorical.from_data(KEY, 3, ys, num_classes=4)
    return getattr(ssm.emissions, family).from_data(KEY, 3, ys)


@pytest.mark.parametrize("family", ["Categorical", "Normal", "MultivariateNormal"])
@FEW
@given(seed=st.integers(0, 1000))
def test_em_never_lowers_the_evidence(family, seed):
    """Also with missing components and ragged lengths; 1e-4 of |evidence| ~ 200 is float32 rounding of its sum."""
    rng = np.random.default_rng(seed)
    shape, lengths = (4, 30, 2), np.array([30, 20, 7, 1])
    if family == "Categorical":
        ys, mask = rng.integers(0, 4, shape[:2]), rng.random(shape[:2]) < 0.8
    else:
        ys, mask = rng.normal(size=shape).astype(np.float32), rng.random(shape) < 0.8
    mask[:, 0] = True
    flat = ys.reshape(-1, *ys.shape[2:])
    start = ssm.HMM(np.ones(3) / 3, np.ones((3, 3)) / 3, emission(family, flat))
    fit = ssm.fit(start, ys, ssm.EM(max_iters=12, tol=0.0), mask=mask, lengths=lengths)
    history = np.append(fit.start_log_prob, fit.log_probs)
    assert history[-1] > history[0]
    assert np.all(np.diff(history) > -1e-4 * np.abs(history[:-1]))


def test_the_history_ends_with_the_evidence_of_the_model():
    """After two iterations, while the evidence still moves by much more than float32 rounding."""
    ys = series()
    for method in (ssm.EM(max_iters=2, tol=0.0), ssm.SGD(num_epochs=2)):
        fit = ssm.fit(model(), ys, method)
        assert fit.log_probs.shape == fit.times.shape == (2,) and fit.num_iters == 2
        np.testing.assert_allclose(fit.log_probs[-1], ssm.log_prob(fit.model, ys), rtol=1e-6)
        np.testing.assert_allclose(fit.start_log_prob, ssm.log_prob(model(), ys), rtol=1e-6)
        assert np.all(np.diff(fit.times) > 0) and fit.times[-1] <= fit.seconds


def test_the_tolerance_is_a_gain_per_observation():
    fit = ssm.fit(model(), series(), ssm.EM(max_iters=200, tol=1e-3))
    gains = np.diff(np.append(fit.start_log_prob, fit.log_probs)) / 60
    assert fit.converged and fit.num_iters < 200
    # The iteration that finds a gain below the tolerance takes one more M-step and is the last.
    assert gains[-2] < 1e-3 and np.all(gains[:-2] >= 1e-3)
    assert not ssm.fit(model(), series(), ssm.EM(max_iters=2, tol=0.0)).converged


def test_one_step_of_em_is_the_normalised_counts():
    ys = series()
    counts = ssm.expected_statistics(model(), ys)
    fitted = ssm.fit(model(), ys, ssm.EM(max_iters=1)).model
    np.testing.assert_allclose(fitted.initial, counts.states[0], rtol=1e-5)
    expected = counts.transitions / counts.transitions.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.transition, expected, rtol=1e-5)
    weights = np.asarray(counts.states)
    np.testing.assert_allclose(fitted.emission.loc, weights.T @ ys / weights.sum(0), rtol=1e-5)


def test_em_and_sgd_reach_the_same_optimum():
    em = ssm.fit(model(), series(), ssm.EM(max_iters=300, tol=1e-8))
    sgd = ssm.fit(model(), series(), ssm.SGD(optax.adam(0.05), num_epochs=600))
    np.testing.assert_allclose(sgd.log_probs[-1], em.log_probs[-1], rtol=1e-5)
    np.testing.assert_allclose(sgd.model.emission.loc, em.model.emission.loc, atol=5e-3)


def test_hard_zeros_stay_exactly_zero():
    left_to_right = [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]
    start = ssm.HMM([1.0, 0.0, 0.0], left_to_right, ssm.emissions.Normal([-1.0, 0.0, 1.0], [1.0, 1.0, 1.0]))
    for method in (ssm.EM(max_iters=5), ssm.SGD(optax.adamw(0.1, weight_decay=0.1), num_epochs=5)):
        fitted = ssm.fit(start, series(), method).model
        np.testing.assert_array_equal(np.asarray(fitted.transition)[np.asarray(left_to_right) == 0], 0)
        np.testing.assert_array_equal(np.asarray(fitted.initial)[1:], 0)
        assert np.isfinite(fitted.transition).all()


def test_a_state_on_a_single_point_keeps_its_minimum_scale():
    ys = np.append(series(), np.float32(50.0))
    start = ssm.HMM(
        [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], ssm.emissions.Normal([0.0, 50.0], [1.0, 1.0], minimum_scale=0.01)
    )
    fit = ssm.fit(start, ys, ssm.EM(max_iters=20))
    np.testing.assert_allclose(fit.model.emission.scale[1], 0.01, rtol=1e-5)
    assert np.isfinite(fit.log_probs).all()


# -- restarts, freezing, padding -------------------------------------------------------------------------------


def test_restarts_keep_the_best_and_repeat_themselves():
    """Frozen parameters are the given ones in every start."""
    ys, start = series(), model()
    fit = lambda n, **more: ssm.fit(start, ys, ssm.EM(max_iters=15, restarts=n), frozen=["emission.scale"], **more)
    fits = [fit(5, key=KEY) for _ in range(2)]
    assert fits[0].restarts.shape[0] == 5
    np.testing.assert_allclose(fits[0].log_probs[-1], np.nanmax(fits[0].restarts), rtol=1e-6)
    np.testing.assert_array_equal(fits[0].log_probs, fits[1].log_probs)
    alone = fit(1)
    np.testing.assert_allclose(fits[0].restarts[0, : alone.num_iters], alone.log_probs, rtol=1e-5)
    assert np.argmax(np.nanmax(fits[0].restarts, axis=1)) != 0  # a random start is what is kept
    np.testing.assert_array_equal(fits[0].model.emission.scale, start.emission.scale)


@pytest.mark.parametrize("method", [ssm.EM(max_iters=3), ssm.SGD(num_epochs=3)])
def test_frozen_parameters_stay(method):
    start = model()
    fitted = ssm.fit(start, series(), method, frozen=["emission.scale", "initial"]).model
    np.testing.assert_array_equal(fitted.emission.scale, start.emission.scale)
    np.testing.assert_array_equal(fitted.initial, start.initial)
    assert np.abs(np.asarray(fitted.emission.loc - start.emission.loc)).min() > 1e-4
    assert np.abs(np.asarray(fitted.transition - start.transition)).max() > 1e-4


@pytest.mark.parametrize("part", ["transition", "emission"])
@pytest.mark.parametrize("method", [ssm.EM(2), ssm.StochasticEM(num_epochs=2)], ids=["em", "stochastic"])
def test_whole_parts_can_be_frozen(method, part):
    start = model()
    ys = np.stack([series(), series()]) if isinstance(method, ssm.StochasticEM) else series()
    fitted = ssm.fit(start, ys, method, frozen=[part], key=KEY).model
    kept, moved = ("transition", "loc") if part == "transition" else ("loc", "transition")
    read = {"transition": lambda m: m.transition, "loc": lambda m: m.emission.loc}
    np.testing.assert_array_equal(read[kept](fitted), read[kept](start))
    assert (np.asarray(read[moved](fitted)) != np.asarray(read[moved](start))).all()


def test_a_frozen_mean_changes_what_the_best_scale_is():
    """The M-step of the scale is around the mean that stays, so EM still climbs."""
    start = model(loc=(-3.0, 4.0))
    fit = ssm.fit(start, series(), ssm.EM(max_iters=20, tol=0.0), frozen=["emission.loc"])
    assert np.all(np.diff(fit.log_probs) > -1e-3)
    assert np.all(np.asarray(fit.model.emission.scale) > 1.0)


@pytest.mark.parametrize("method", [ssm.EM(max_iters=3, tol=0.0), ssm.SGD(num_epochs=3)])
def test_padding_and_missing_rows_change_nothing(method):
    ys = series(20, 3)
    padded = np.concatenate([ys, np.full((3, 5), 1e6, np.float32)], axis=1)
    plain = ssm.fit(model(), ys, method).model
    ragged = ssm.fit(model(), padded, method, lengths=np.full(3, 20)).model
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(ragged), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)  # sums over 25 instead of 20 terms


# -- compiling --------------------------------------------------------------------------------------------------


def test_a_second_fit_of_the_same_kind_compiles_nothing():
    ys = series(24, 4)
    methods = [
        lambda: ssm.EM(max_iters=3),
        lambda: ssm.SGD(optax.adam(0.03), num_epochs=3, batch_size=3, max_grad_norm=1.0),
        lambda: ssm.SGD(optax.chain(optax.clip(0.5), optax.sgd(optax.cosine_decay_schedule(0.1, 10))), num_epochs=3),
    ]
    for method in methods:
        ssm.fit(model(), ys, method(), key=KEY)
        with Compilations() as compiled:
            again = ssm.fit(model(loc=(0.0, 1.0)), ys + np.float32(0.1), method(), key=KEY)
        assert compiled.count == 0
        assert again.compile_seconds == 0


def test_another_learning_rate_is_another_optimiser():
    slow, fast = (ssm.fit(model(), series(), ssm.SGD(optax.adam(rate), num_epochs=5)) for rate in (1e-4, 1e-1))
    assert fast.log_probs[-1] > slow.log_probs[-1] + 1


# -- SGD --------------------------------------------------------------------------------------------------------


def test_batches_cover_every_sequence_once_in_a_new_order():
    orders = []
    for seed in range(3):
        rows, weights = shuffled_batches(jax.random.key(seed), 10, 4)
        assert rows.shape == weights.shape == (3, 4)
        assert sorted(np.asarray(rows)[np.asarray(weights)].tolist()) == list(range(10))
        orders.append(np.asarray(rows).ravel()[:10].tolist())
    assert orders[0] != orders[1] and orders[1] != orders[2] and list(range(10)) not in orders


def test_one_sequence_is_one_batch():
    whole = ssm.fit(model(), series(), ssm.SGD(num_epochs=3)).log_probs
    np.testing.assert_array_equal(
        ssm.fit(model(), series(), ssm.SGD(num_epochs=3, batch_size=1), key=KEY).log_probs, whole
    )


def test_mini_batches_depend_on_the_key_alone():
    ys, method = series(20, 5), ssm.SGD(num_epochs=4, batch_size=2)
    one, same, other = (ssm.fit(model(), ys, method, key=jax.random.key(seed)).log_probs for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


def test_the_gradient_norm_is_bounded():
    """One step of plain descent with rate 1 moves the parameters by at most the bound."""
    start, bound = model(loc=(-30.0, 40.0)), 0.01
    fitted = ssm.fit(start, series(), ssm.SGD(optax.sgd(1.0), num_epochs=1, max_grad_norm=bound)).model
    moved = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), fitted, start)
    np.testing.assert_allclose(np.sqrt(sum(float(leaf) for leaf in jax.tree.leaves(moved))), bound, rtol=1e-3)


def test_validation_stops_early_and_returns_the_best():
    ys = series(40, 2)
    method = ssm.SGD(optax.sgd(2.0), num_epochs=200, patience=3)
    fit = ssm.fit(model(), ys, method, validation=ys[:1] * np.float32(0.5))
    scores = fit.validation_log_probs
    assert fit.converged and fit.num_iters == np.argmax(scores) + 1 + 3
    np.testing.assert_allclose(ssm.log_prob(fit.model, ys[:1] * np.float32(0.5)).sum(), scores.max(), rtol=1e-5)


def test_truncated_backpropagation_over_the_whole_length_is_exact():
    cell = ssm.cells.Tanh(1, 3, key=KEY)
    network = ssm.RNN(cell, ssm.heads.Normal(3, key=KEY))
    ys = series(30)
    runs = {size: ssm.fit(network, ys, ssm.SGD(num_epochs=3, truncate=size)).log_probs for size in (2, 30)}
    whole = ssm.fit(network, ys, ssm.SGD(num_epochs=3)).log_probs
    np.testing.assert_allclose(runs[30], whole, rtol=1e-6)
    assert np.abs(runs[2] - whole).max() > 1e-4


# -- checkpoints, errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda n: ssm.EM(max_iters=n, tol=0.0), lambda n: ssm.SGD(num_epochs=n)])
def test_an_interrupted_fit_goes_on_where_it_stood(make, tmp_path):
    ys, path = series(), tmp_path / "fit"
    whole = ssm.fit(model(), ys, make(25))
    ssm.fit(model(), ys, make(10), checkpoint=path)
    resumed = ssm.fit(model(), ys, make(25), checkpoint=path)
    np.testing.assert_allclose(resumed.log_probs, whole.log_probs, rtol=1e-6)
    other = ssm.HMM(np.ones(3) / 3, np.ones((3, 3)) / 3, ssm.emissions.Normal([0.0, 1.0, 2.0], [1.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="checkpoint: .* does not hold a fit of this model"):
        ssm.fit(other, ys, make(25), checkpoint=path)


@pytest.mark.parametrize("method", [ssm.EM(), ssm.SGD(num_epochs=2)])
def test_impossible_observations_are_named(method):
    start = ssm.HMM([1.0, 0.0], [[0.5, 0.5], [0.0, 1.0]], ssm.emissions.Categorical([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]))
    with pytest.raises(ValueError, match="time step 3 is impossible under the starting model"):
        ssm.fit(start, np.array([0, 1, 2, 0, 1]), method)


def test_a_diverging_fit_says_so():
    with pytest.raises(FloatingPointError, match="became NaN; .*learning rate"):
        ssm.fit(model(), series(), ssm.SGD(optax.sgd(1e30), num_epochs=30))


def test_comparisons_rank_by_held_out_evidence():
    ys = series(50, 2)
    good = ssm.fit(model(), ys, ssm.EM()).model
    table = ssm.compare({"bad": model(loc=(20.0, 30.0)), "good": good}, ys, lengths=[50, 30])
    assert [row.name for row in table.rows] == ["good", "bad"] and table.observations == 80
    assert table.rows[0].difference == 0 and table.rows[1].difference < 0
    np.testing.assert_allclose(table.rows[0].log_prob, ssm.log_prob(good, ys, lengths=[50, 30]).sum(), rtol=1e-6)
    assert "good" in str(table) and "80 observed time steps" in str(table)


def test_patience_needs_held_out_data_and_none_never_stops():
    ys = series(40, 2)
    held_out = {"validation": ys[:1] * np.float32(0.5)}
    with pytest.raises(ValueError, match="patience: 3 epochs .*; pass validation="):
        ssm.fit(model(), ys, ssm.SGD(num_epochs=2, patience=3))
    stopped, whole = (
        ssm.fit(model(), ys, ssm.SGD(optax.sgd(2.0), 200, patience=p), **held_out) for p in ("auto", None)
    )
    assert stopped.num_iters < whole.num_iters == 200
    scores = whole.validation_log_probs
    assert np.argmax(scores) + 1 + 10 == stopped.num_iters
    np.testing.assert_allclose(ssm.log_prob(whole.model, held_out["validation"]).sum(), scores.max(), rtol=1e-5)
    assert ssm.fit(model(), ys, ssm.SGD(num_epochs=2, patience=None)).num_iters == 2
    with pytest.raises((TypeError, ValueError), match="patience"):
        ssm.SGD(patience=0)


@pytest.mark.parametrize("epochs", [5, 30])
def test_a_fit_that_diverges_before_it_is_looked_at_says_so(epochs):
    with pytest.raises(FloatingPointError, match="became NaN; .*learning rate"):
        ssm.fit(model(), series(), ssm.SGD(optax.sgd(1e30), num_epochs=epochs))
