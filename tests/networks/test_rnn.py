"""Recurrent networks against literal loops, sums over all sequences and finite differences."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from oracles import central_differences

import ssm
from ssm.beliefs import Point
from ssm.cells import GRU, LSTM, AbstractCell, Stack, Tanh
from ssm.heads import Bernoulli, Categorical, Normal
from ssm.maps import ConstantKernel
from ssm.shapes import Array, Float

pytestmark = pytest.mark.usefixtures("float64")

KEY = jax.random.key(3)
EXACT = {"rtol": 1e-11, "atol": 1e-11}  # float64: the same sums in another order
T, U = 6, 2

CELLS = {
    "tanh": Tanh,
    "gru": GRU,
    "lstm": LSTM,
    "stack": lambda i, h, *, key: Stack([LSTM(i, 3, key=key), Tanh(3, h, key=key)]),
}
HEADS = {
    "categorical": (lambda h, key: Categorical(h, 3, key=key), 3),
    "bernoulli": (lambda h, key: Bernoulli(h, 2, key=key), 2),
    "normal": (lambda h, key: Normal(h, 2, key=key), 2),
    "scalar": (lambda h, key: Normal(h, key=key), 1),
}
READS = ("past", "inputs", "both")
NETWORKS = [("categorical", "past"), ("normal", "inputs"), ("bernoulli", "both"), ("scalar", "past")]


def network(head: str, reads: str = "past", cell: str = "gru", hidden: int = 4) -> ssm.RNN:
    """A network with random parameters whose sizes fit; large ones, so that everything matters."""
    make_head, encoded = HEADS[head]
    size = {"past": encoded, "inputs": U, "both": encoded + U}[reads]
    for_cell, for_head = jax.random.split(KEY)
    model = ssm.RNN(CELLS[cell](size, hidden, key=for_cell), make_head(hidden, for_head), reads=reads)
    return jax.tree.map(lambda leaf: 2 * leaf, model)


def data(model: ssm.RNN, *lead: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
    """Observations of the right kind, and inputs if the model reads them."""
    rng = np.random.default_rng(seed)
    shape = (*lead, *model.event_shape)
    if model.event_kind == "symbol":
        ys = rng.integers(0, model.num_classes, shape)
    else:
        ys = rng.integers(0, 2, shape).astype(float) if isinstance(model.head, Bernoulli) else rng.normal(size=shape)
    return ys, rng.normal(size=(*lead, U)) if model.num_inputs else None


def every_network(test: Any) -> Any:
    """Every head and every reading at least once."""
    cases = [pytest.param(head, reads, id=f"{head}-{reads}") for head, reads in NETWORKS]
    return pytest.mark.parametrize(("head", "reads"), cases)(test)


def one_network(test: Any) -> Any:
    """As `every_network`, for what test_laws.py asks of networks, too: one in every run, the others with --slow."""
    slow = lambda head: [] if head == "bernoulli" else [pytest.mark.slow]
    cases = [pytest.param(head, reads, id=f"{head}-{reads}", marks=slow(head)) for head, reads in NETWORKS]
    return pytest.mark.parametrize(("head", "reads"), cases)(test)


# -- literal oracles ------------------------------------------------------------------------------------------


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def literal_states(cell: Any, xs: np.ndarray, hidden: int) -> np.ndarray:
    """h_1 ... h_T by the textbook equations, component by component where the textbook has gates."""
    weights = lambda a: np.split(np.asarray(a), np.asarray(a).shape[0] // hidden)
    h, c, path = np.zeros(hidden), np.zeros(hidden), []
    for x in xs:
        if isinstance(cell, Tanh):
            h = np.tanh(np.asarray(cell.recurrent) @ h + np.asarray(cell.input) @ x + np.asarray(cell.bias))
        elif isinstance(cell, GRU):
            (w_r, w_z, w_n), (b_r, b_z, b_n) = weights(cell.cell.weight_ih), weights(cell.cell.bias)
            u_r, u_z, u_n = weights(cell.cell.weight_hh)
            r, z = sigmoid(u_r @ h + w_r @ x + b_r), sigmoid(u_z @ h + w_z @ x + b_z)
            h = (1 - z) * np.tanh(w_n @ x + b_n + r * (u_n @ h + np.asarray(cell.cell.bias_n))) + z * h
        else:
            (w_i, w_f, w_g, w_o), (b_i, b_f, b_g, b_o) = weights(cell.cell.weight_ih), weights(cell.cell.bias)
            u_i, u_f, u_g, u_o = weights(cell.cell.weight_hh)
            i, f = sigmoid(u_i @ h + w_i @ x + b_i), sigmoid(u_f @ h + w_f @ x + b_f)
            g, o = np.tanh(u_g @ h + w_g @ x + b_g), sigmoid(u_o @ h + w_o @ x + b_o)
            c = f * c + i * g
            h = o * np.tanh(c)
        path.append(h)
    return np.stack(path)


def literal_log_prob(head: Any, h: np.ndarray, y: np.ndarray) -> float:
    """log p(y | h) by the formulas of the distributions."""
    mapped = np.asarray(head.linear.weight) @ h + np.asarray(head.linear.bias)
    if isinstance(head, Categorical):
        return mapped[y] - np.log(np.exp(mapped).sum())
    if isinstance(head, Bernoulli):
        return float(np.sum(np.where(y == 1, np.log(sigmoid(mapped)), np.log(1 - sigmoid(mapped)))))
    loc, log_scale = np.split(mapped, 2)
    return float(np.sum(-0.5 * ((y - loc) / np.exp(log_scale)) ** 2 - log_scale - 0.5 * np.log(2 * np.pi)))


def literal_inputs(model: ssm.RNN, reads: str, ys: np.ndarray, us: np.ndarray | None) -> np.ndarray:
    """What the cell reads to reach the state before y_t: for "past" nothing at t = 1."""
    size = model.head.encoded_size
    encoded = np.eye(size)[ys] if model.event_kind == "symbol" else ys.reshape(len(ys), size)
    before = np.concatenate([np.zeros((1, size)), encoded[:-1]])
    return {"past": encoded[:-1], "inputs": us, "both": None if us is None else np.concatenate([before, us], 1)}[reads]


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_cells_follow_their_equations(cell: str) -> None:
    made = jax.tree.map(lambda leaf: 3 * leaf, CELLS[cell](2, 4, key=KEY))
    xs = np.random.default_rng(0).normal(size=(T, 2))
    state, path = made.initial(), []
    for x in xs:
        state = made(state, jnp.asarray(x))
        path.append(made.output(state))
    np.testing.assert_allclose(np.stack(path), literal_states(made, xs, 4), **EXACT)


@pytest.mark.parametrize("kind", [eqx.nn.LSTMCell, eqx.nn.GRUCell])
def test_a_wrapped_cell_of_equinox_is_the_cell_of_ours(kind: Any) -> None:
    cell = kind(2, 4, key=KEY)
    ours, wrapped = (ssm.RNN(each, Normal(4, 2, key=KEY)) for each in (cell, ssm.cells.Wrapped(cell)))
    ys = np.random.default_rng(0).normal(size=(2, T, 2))
    mask = np.broadcast_to(np.arange(T) != 2, (2, T))
    np.testing.assert_allclose(ssm.log_prob(wrapped, ys, mask=mask), ssm.log_prob(ours, ys, mask=mask), **EXACT)
    stacked = ssm.RNN(Stack([ssm.cells.Wrapped(cell), Tanh(4, 3, key=KEY)]), Normal(3, 2, key=KEY))
    assert np.isfinite(ssm.log_prob(stacked, ys[0]))
    assert ssm.forecast(wrapped, ys[0], 2, key=KEY).mean.shape == (2, 2)


class Foreign(eqx.Module):
    """A cell of another library: whatever `step` makes of what it reads and of its state."""

    step: Any = eqx.field(static=True)
    input_size: int = eqx.field(static=True, default=2)
    hidden_size: int = eqx.field(static=True, default=3)

    def __call__(self, x: Any, state: Any) -> Any:
        return self.step(x, state)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (Foreign(lambda x, h: h[..., :2]), r"Foreign, given a vector, returned .*shape=\(2,\)"),
        (Foreign(lambda x, h: {"h": h["h"]}), "Foreign, given a vector, raised"),
        (Foreign(lambda x, h: h.astype(jnp.float32)), "returned ShapeDtypeStruct"),
        (Foreign(lambda x: x), "raised TypeError"),
        (jnp.tanh, "got "),
    ],
)
def test_a_cell_that_keeps_neither_a_vector_nor_a_pair_is_told_what_was_expected(cell: Any, said: str) -> None:
    with pytest.raises(TypeError, match=rf"(?s)cell: expected an Equinox module cell\(x, state\).*{said}"):
        ssm.cells.Wrapped(cell)


@every_network
def test_evidence_is_that_of_a_literal_loop(head: str, reads: str) -> None:
    model = network(head, reads)
    ys, us = data(model, T)
    states = literal_states(model.cell, literal_inputs(model, reads, ys, us), 4)
    if reads == "past":
        states = np.concatenate([np.zeros((1, 4)), states])
    expected = [literal_log_prob(model.head, h, y) for h, y in zip(states, ys, strict=True)]
    np.testing.assert_allclose(ssm.filter(model, ys, us).log_evidence, expected, **EXACT)


def test_gradient_is_that_of_the_unrolled_network() -> None:
    model = network("categorical", cell="stack")
    ys, _ = data(model, T)

    def unrolled(model: ssm.RNN) -> Array:
        lstm, tanh = model.cell.cells
        h, c, top, total = jnp.zeros(3), jnp.zeros(3), jnp.zeros(4), jnp.zeros(())
        for y in ys:
            total += jax.nn.log_softmax(model.head.linear.weight @ top + model.head.linear.bias)[y]
            gates = lstm.cell.weight_ih[:, y] + lstm.cell.weight_hh @ h + lstm.cell.bias
            i, f, g, o = gates[:3], gates[3:6], gates[6:9], gates[9:]
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            top = jnp.tanh(tanh.recurrent @ top + tanh.input @ h + tanh.bias)
        return total

    both = jax.jit(lambda m: (jax.value_and_grad(lambda m: ssm.log_prob(m, ys))(m), jax.value_and_grad(unrolled)(m)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), *both(model))


def test_gradient_is_that_of_finite_differences() -> None:
    model = network("normal", "both", "lstm", hidden=2)
    ys, us = data(model, T)
    ys[2, 1] = np.nan
    flat, unravel = ravel_pytree(model)
    evidence = lambda flat: ssm.log_prob(unravel(flat), ys, us)
    # Central differences with steps of 1e-5 err by about 1e-10 of third derivatives of order 1e2.
    gradient = jax.jit(jax.grad(evidence))(flat)
    np.testing.assert_allclose(gradient, central_differences(evidence, flat), rtol=1e-6, atol=1e-6)


# -- it is a distribution over sequences ----------------------------------------------------------------------


@pytest.mark.parametrize(("head", "reads"), [("categorical", "past"), ("bernoulli", "both"), ("bernoulli", "inputs")])
def test_probabilities_of_all_sequences_sum_to_one(head: str, reads: str) -> None:
    model = network(head, reads)
    events = range(3) if head == "categorical" else list(itertools.product([0.0, 1.0], repeat=2))
    sequences = np.array(list(itertools.product(events, repeat=4)))
    us = None if reads == "past" else np.broadcast_to(data(model, 4)[1], (len(sequences), 4, U))
    log_probs = ssm.log_prob(model, sequences, us)
    assert np.ptp(log_probs) > 0.5  # not merely the uniform distribution
    np.testing.assert_allclose(np.exp(log_probs).sum(), 1, **EXACT)


def test_simulated_sequences_have_the_probabilities_of_the_model() -> None:
    model = network("categorical")
    n = 10_000
    draws = jax.vmap(lambda key: ssm.simulate(model, key, 2)[1])(jax.random.split(KEY, n))
    counts = np.bincount(np.asarray(draws[:, 0] * 3 + draws[:, 1]), minlength=9)
    expected = np.exp(ssm.log_prob(model, np.array(list(itertools.product(range(3), repeat=2)))))
    # Five standard deviations of a binomial count, for nine of them.
    assert (np.abs(counts / n - expected) < 5 * np.sqrt(expected * (1 - expected) / n)).all()


# -- laws -----------------------------------------------------------------------------------------------------


@one_network
def test_increments_are_those_of_the_emitted_distribution(head: str, reads: str) -> None:
    model = network(head, reads)
    ys, us = data(model, T)
    filtered = ssm.filter(model, ys, us)
    for t in range(T):
        prior = jax.tree.map(lambda leaf, t=t: leaf[t], filtered.predicted)
        y = jnp.asarray(ys[t])
        np.testing.assert_allclose(model.emit(prior, None).log_prob(y), filtered.log_evidence[t], **EXACT)
        np.testing.assert_allclose(model.update(prior, None, y)[1], filtered.log_evidence[t], **EXACT)


@one_network
def test_a_stream_equals_the_batch(head: str, reads: str) -> None:
    model = network(head, reads)
    ys, us = data(model, T)
    missing = np.arange(T) == 3
    whole = ssm.filter(model, ys, us, mask=~missing)
    state = ssm.init(model, None if us is None else us[0])
    for t in range(T):
        y = None if missing[t] else ys[t]
        state, log_evidence = ssm.step(model, state, y, None if us is None else us[t])
        np.testing.assert_allclose(log_evidence, whole.log_evidence[t], **EXACT)
        belief = jax.tree.map(lambda leaf, t=t: leaf[t], whole.filtered)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), state.belief, belief)


@one_network
def test_padding_changes_nothing_and_a_batch_is_a_loop(head: str, reads: str) -> None:
    model = network(head, reads)
    ys, us = data(model, 3, T)
    lengths = np.array([T, 2, 4])
    batch = ssm.filter(model, ys, us, lengths=lengths)
    for b, length in enumerate(lengths):
        single = ssm.filter(model, ys[b, :length], None if us is None else us[b, :length])
        np.testing.assert_allclose(batch.log_prob[b], single.log_prob, **EXACT)
        np.testing.assert_allclose(batch.log_evidence[b, :length], single.log_evidence, **EXACT)
        assert (np.asarray(batch.log_evidence[b, length:]) == 0).all()


@pytest.mark.parametrize("reads", READS)
def test_the_present_does_not_know_the_future(reads: str) -> None:
    model = network("normal", reads)
    (ys, us), (other_ys, other_us) = data(model, T), data(model, T, seed=1)
    mixed_ys = np.concatenate([ys[:3], other_ys[3:]])
    mixed_us = None if us is None else np.concatenate([us[:4], other_us[4:]])  # u_4 is known before y_4
    one, two = ssm.filter(model, ys, us), ssm.filter(model, mixed_ys, mixed_us)
    until = lambda beliefs, t: jax.tree.map(lambda leaf: np.asarray(leaf[:t]), beliefs)
    jax.tree.map(np.testing.assert_array_equal, until(one.predicted, 4), until(two.predicted, 4))
    jax.tree.map(np.testing.assert_array_equal, until(one.filtered, 3), until(two.filtered, 3))
    if reads != "past":
        later_us = np.concatenate([us[:3], other_us[3:]])
        changed = ssm.filter(model, ys, later_us).log_evidence
        np.testing.assert_array_equal(changed[:3], one.log_evidence[:3])
        assert abs(changed[3] - one.log_evidence[3]) > 1e-3  # the input of a step drives its own observation


# -- missing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("head", "reads"), [("bernoulli", "past"), ("normal", "past"), ("normal", "both")])
def test_missing_values_are_read_as_expected_ones(head: str, reads: str) -> None:
    model = network(head, reads)
    ys, us = data(model, T)
    ys[1, 0], ys[3] = np.nan, np.nan
    filtered = ssm.filter(model, ys, us)
    # The same network, told what it expected: its states must not notice.
    expect = jax.vmap(lambda state: model.emit(Point(state), None).mean())
    complete = np.where(np.isnan(ys), expect(filtered.predicted.state), ys)
    if head == "normal":
        told = ssm.filter(model, complete, us)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), filtered.filtered, told.filtered)
    hidden = filtered.predicted.state if reads == "past" else filtered.predicted.state.hidden
    flat = np.asarray(model.head.linear.weight) @ np.asarray(hidden[1]) + np.asarray(model.head.linear.bias)
    if head == "normal":
        loc, log_scale = flat[1], flat[3]
        one = -0.5 * ((ys[1, 1] - loc) / np.exp(log_scale)) ** 2 - log_scale - 0.5 * np.log(2 * np.pi)
    else:
        one = np.log(sigmoid(flat[1]) if ys[1, 1] else 1 - sigmoid(flat[1]))
    np.testing.assert_allclose(filtered.log_evidence[1], one, **EXACT)
    assert filtered.log_evidence[3] == 0


def test_a_masked_symbol_touches_neither_value_nor_gradient() -> None:
    model = network("categorical")
    ys, _ = data(model, T)
    mask = np.arange(T) != 2
    results = []
    evidence = jax.jit(jax.value_and_grad(lambda model, ys: ssm.log_prob(model, ys, mask=mask)))
    for symbol in range(3):
        ys[2] = symbol
        results.append(evidence(model, ys))
    jax.tree.map(np.testing.assert_array_equal, results[0], results[1])
    jax.tree.map(np.testing.assert_array_equal, results[0], results[2])
    # By hand: probabilities in the place of the one-hot vector.
    state = model.cell.initial()
    total = 0.0
    for t, y in enumerate(ys):
        probs = jax.nn.softmax(model.head.linear(state))
        total += float(jnp.log(probs[y])) if mask[t] else 0.0
        state = model.cell(state, jnp.eye(3)[y] if mask[t] else probs)
    np.testing.assert_allclose(results[0][0], total, **EXACT)


# -- composition, gradients through time, schedules -----------------------------------------------------------


def test_a_stack_is_its_cells_one_after_the_other() -> None:
    stack = Stack([GRU(2, 3, key=KEY), Tanh(3, 4, key=KEY)])
    xs = np.random.default_rng(0).normal(size=(T, 2))
    below = literal_states(stack.cells[0], xs, 3)
    above = literal_states(stack.cells[1], below, 4)
    model = ssm.RNN(stack, Normal(4, key=KEY), reads="inputs")
    filtered = ssm.filter(model, np.zeros(T), xs).filtered.state
    np.testing.assert_allclose(filtered[0], below, **EXACT)
    np.testing.assert_allclose(filtered[1], above, **EXACT)


class LinearCell(AbstractCell):
    """h' = W h + x."""

    matrix: Float[Array, "H H"]
    input_size = output_size = 3

    def initial(self) -> Array:
        return jnp.zeros(3)

    def advance(self, state: Array, projected: Array) -> Array:
        return self.matrix @ state + projected


@pytest.mark.parametrize("radius", [0.5, 1.0, 1.1])
def test_gradients_through_a_linear_network_shrink_and_grow_with_its_radius(radius: float) -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    model = ssm.RNN(LinearCell(jnp.asarray(radius * rotation)), Normal(3, key=KEY), reads="inputs")
    mask = np.arange(30) == 29  # only the last step is scored, so ∂/∂u_t = Wᵀ ∂/∂u_{t+1}
    gradient = jax.grad(lambda us: ssm.log_prob(model, np.ones(30), us, mask=mask))(jnp.ones((30, 3)))
    norms = np.linalg.norm(gradient, axis=1)
    assert norms[-1] > 1e-3
    np.testing.assert_allclose(norms[:-1] / norms[1:], radius, rtol=1e-10)


def test_newton_sweeps_find_the_same_values_and_gradients() -> None:
    model = network("normal", "both")
    ys, us = data(model, 12)
    ys[7] = np.nan
    value = lambda schedule: jax.value_and_grad(lambda m: ssm.log_prob(m, ys, us, schedule=schedule))(model)
    both = value("sequential"), value("fixed_point")
    # Sweeps end when nothing moves by more than 1e-12.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9), *both)


def test_newton_sweeps_equal_the_scan_in_float32() -> None:
    with jax.enable_x64(False):
        head = Categorical(8, 4, key=KEY)
        model = ssm.RNN(GRU(4, 8, key=KEY), head)
        ys = np.random.default_rng(0).integers(0, 4, 10_000)
        scanned = ssm.filter(model, ys, schedule="sequential").filtered.state
        swept = ssm.filter(model, ys, schedule="fixed_point").filtered.state
        assert scanned.dtype == jnp.float32
        np.testing.assert_allclose(swept, scanned, rtol=0, atol=1e-6)


@pytest.mark.parametrize("reads", ["inputs", "both"])
def test_smoothed_is_filtered(reads: str) -> None:
    model = network("normal", reads)
    ys, us = data(model, T)
    lengths = np.array(4)
    filtered = ssm.filter(model, ys, us, lengths=lengths).filtered
    smoothed = ssm.smooth(model, ys, us, lengths=lengths).smoothed
    jax.tree.map(np.testing.assert_array_equal, smoothed, filtered)
    drawn = ssm.posterior_sample(model, KEY, ys, 2, us, lengths=lengths)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b), drawn, filtered.state)


def test_constant_kernels_obey_the_laws_of_maps() -> None:
    points = [Point(jnp.full(2, float(i))) for i in range(4)]
    one, two = ConstantKernel.of(points[0]), ConstantKernel.of(points[1])
    maps = [one, two, one.identity(), two.forget(points[2])]
    for a, b, c in itertools.product(maps, repeat=3):
        direct = c.apply(b.apply(a.apply(points[3])))
        for composed in (a.then(b).then(c), a.then(b.then(c))):
            np.testing.assert_array_equal(composed.apply(points[3]).state, direct.state)
    np.testing.assert_array_equal(maps[2].apply(points[3]).state, points[3].state)
    np.testing.assert_array_equal(maps[3].apply(points[3]).state, points[2].state)
    np.testing.assert_array_equal(one.sample(KEY, points[3].state), points[0].state)


# -- forecasts ------------------------------------------------------------------------------------------------


def test_forecasts_of_input_driven_networks_are_exact() -> None:
    model = network("normal", "inputs")
    ys, us = data(model, T + 3)
    forecast = ssm.forecast(model, ys[:T], 3, us[:T], us[T:])
    states = literal_states(model.cell, us, 4)[T:]
    mapped = states @ np.asarray(model.head.linear.weight).T + np.asarray(model.head.linear.bias)
    np.testing.assert_allclose(forecast.mean, mapped[:, :2], **EXACT)
    np.testing.assert_allclose(forecast.stddev, np.exp(mapped[:, 2:]), **EXACT)


@pytest.mark.parametrize("reads", ["past", "both"])
def test_forecasts_of_networks_that_read_themselves_are_drawn_from_them(reads: str) -> None:
    model = network("categorical", reads)
    ys, us = data(model, T + 2)
    inputs = () if us is None else (us[:T], us[T:])
    forecast = ssm.forecast(model, ys[:T], 2, *inputs, num_samples=20_000, key=KEY)
    futures = np.array(list(itertools.product(range(3), repeat=2)))
    whole = np.concatenate([np.broadcast_to(ys[:T], (9, T)), futures], axis=1)
    repeated = None if us is None else np.broadcast_to(us, (9, *us.shape))
    past = ssm.log_prob(model, ys[:T], None if us is None else us[:T])
    joint = np.exp(ssm.log_prob(model, whole, repeated) - past).reshape(3, 3)
    expected = np.stack([joint.sum(1), joint.sum(0)])
    assert (np.abs(forecast.probs - expected) < 5 * np.sqrt(expected * (1 - expected) / 20_000)).all()  # 5 sigma
    np.testing.assert_allclose(forecast.log_prob(futures[5]), np.log(joint.ravel()[5]), **EXACT)


# -- construction ---------------------------------------------------------------------------------------------


def test_equinox_cells_are_taken_as_they_are() -> None:
    class Leaky(eqx.Module):
        rate: Array
        input_size: int = eqx.field(static=True)
        hidden_size: int = eqx.field(static=True)

        def __call__(self, x: Array, h: Array) -> Array:
            return self.rate * h + jnp.sum(x)

    xs = np.random.default_rng(0).normal(size=(T, 2))
    for cell in (eqx.nn.GRUCell(2, 4, key=KEY), eqx.nn.LSTMCell(2, 4, key=KEY), Leaky(jnp.asarray(0.5), 2, 4)):
        model = ssm.RNN(cell, Normal(4, key=KEY), reads="inputs")
        state = (jnp.zeros(4), jnp.zeros(4)) if isinstance(cell, eqx.nn.LSTMCell) else jnp.zeros(4)
        for x in xs:
            state = cell(jnp.asarray(x), state)
        last = jax.tree.map(lambda leaf: leaf[-1], ssm.filter(model, np.zeros(T), xs).filtered.state)
        for a, b in zip(jax.tree.leaves(last), jax.tree.leaves(state), strict=True):
            np.testing.assert_allclose(a, b, **EXACT)


def test_the_forget_gate_starts_open() -> None:
    assert (LSTM(2, 3, key=KEY).cell.bias[3:6] == 1).all()
    assert (LSTM(2, 3, forget_bias=-2.0, key=KEY).cell.bias[3:6] == -2).all()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: ssm.RNN(GRU(3, 4, key=KEY), Categorical(5, 3, key=KEY)), ValueError, "head: reads 5.*shows 4"),
        (lambda: ssm.RNN(GRU(2, 4, key=KEY), Categorical(4, 3, key=KEY)), ValueError, "cell: reads 2 .* has 3"),
        (lambda: ssm.RNN(GRU(3, 4, key=KEY), Categorical(4, 3, key=KEY), reads="both"), ValueError, "room for inputs"),
        (lambda: ssm.RNN(GRU(3, 4, key=KEY), Categorical(4, 3, key=KEY), reads="future"), ValueError, "past, inputs"),
        (lambda: ssm.RNN(jnp.tanh, Categorical(4, 3, key=KEY)), TypeError, "cell: expected one of ssm.cells"),
        (lambda: ssm.RNN(GRU(3, 4, key=KEY), jnp.exp), TypeError, "head: expected one of ssm.heads"),
        (lambda: Stack([GRU(3, 4, key=KEY), GRU(5, 4, key=KEY)]), ValueError, "number 0 gives 4 .* number 1 reads 5"),
        (lambda: Stack([]), ValueError, "at least one cell"),
        (lambda: GRU(3, 0, key=KEY), ValueError, "hidden_size"),
        (lambda: Normal(3.0, key=KEY), TypeError, "input_size"),
        (lambda: ssm.log_prob(network("categorical"), [0, 3]), ValueError, "0 .. 2"),
        (lambda: ssm.log_prob(network("bernoulli"), [[0.5, 1.0]]), ValueError, "zeros and ones.*0.5"),
        (lambda: ssm.log_prob(network("categorical", "both"), [0, 1]), ValueError, "inputs: RNN reads 2"),
        (lambda: ssm.log_prob(network("categorical"), [0, 1], schedule="associative"), TypeError, "fixed_point"),
        (lambda: ssm.forecast(network("categorical"), [0, 1], 2), ValueError, "key"),
    ],
)
def test_misuse_is_explained(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_a_symbol_out_of_range_poisons_the_evidence_where_it_cannot_be_seen() -> None:
    model = network("categorical")
    assert np.isnan(jax.jit(lambda ys: ssm.log_prob(model, ys))(jnp.array([0, 3])))
