"""How long the present segment has run: states, beliefs, and the kernels that move them both ways."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.conjugate.base import AbstractConjugate
from ssm.maps.base import AbstractKernel
from ssm.numeric import checks
from ssm.numeric.logspace import log
from ssm.numeric.trees import index, select
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree, Scalar


class Run(eqx.Module):
    """One state: how many steps ago its segment began, and the parameters of that segment."""

    run_length: Int[Array, "*batch"]
    parameters: PyTree


class Runs(eqx.Module):
    """A distribution over the run length, as R hypotheses: each a run, its weight and what the run has seen.

    `run_lengths[i]` is the number of steps since run i began, 0 at its first observation, -1 where a place is
    still free; `segments` are the posteriors of the runs' parameters given the observations of the run up to
    this time, with a leading axis R. `log_kept` is the logarithm of the share of all probability that was kept
    so far: exactly 0 until more than R runs were possible.
    """

    log_weights: Float[Array, "*batch R"]
    run_lengths: Int[Array, "*batch R"]
    segments: AbstractConjugate
    log_kept: Float[Array, "*batch"]

    @property
    def probs(self) -> Float[Array, "*batch R"]:
        """Probability of each run; they sum to one."""
        return jnp.exp(self.log_weights)

    @property
    def change(self) -> Float[Array, "*batch"]:
        """Probability that a segment begins at this very step."""
        return jnp.sum(jnp.where(self.run_lengths == 0, self.probs, 0), axis=-1)

    def by_length(self, size: int) -> Float[Array, "*batch size"]:
        """Probabilities of the run lengths 0 .. size-1, the last one including all that are longer."""
        lengths = jnp.minimum(self.run_lengths, checks.positive_int("size", size) - 1)
        flat = lambda leaf: leaf.reshape(-1, leaf.shape[-1])
        # A free place (-1) has no probability: it is dropped, not wrapped to the end.
        add = lambda at, probs: jnp.zeros(size, probs.dtype).at[jnp.where(at < 0, size, at)].add(probs, mode="drop")
        rows = jax.vmap(add)(flat(lengths), flat(self.probs))
        return rows.reshape(*lengths.shape[:-1], size)

    def sample(self, key: Key) -> Run:
        """A run drawn by weight, and parameters given what it has seen."""
        return self.draw(key, self.log_weights)

    def draw(self, key: Key, log_weights: Float[Array, "R"]) -> Run:
        """As `sample`, with other weights, not normalised."""
        for_run, for_parameters = jax.random.split(key)
        i = jax.random.categorical(for_run, log_weights)
        return Run(self.run_lengths[i], index(self.segments, i).sample(for_parameters))


@final
class NextRun(eqx.Module):
    """p(x_t | x_{t-1}): a segment begins with probability exp(log_hazard), otherwise `before` goes on."""

    segment: AbstractConjugate
    before: Run | None  # None: nothing goes on
    log_hazard: Scalar

    def sample(self, *, seed: Key) -> Run:
        """One draw."""
        for_change, for_parameters = jax.random.split(seed)
        new = Run(jnp.zeros((), int), self.segment.sample(for_parameters))
        if self.before is None:
            return new
        uniform = jax.random.uniform(for_change, dtype=self.log_hazard.dtype)
        longer = Run(self.before.run_length + 1, self.before.parameters)
        return select(uniform < jnp.exp(self.log_hazard), new, longer)


@final
class ReversedRuns(AbstractKernel[Runs]):
    """p(r_t | r_{t+1}, y_{<=t}): certain where a run goes on, ∝ exp(ending) before a new one.

    Smoothed beliefs keep what runs have seen up to t: their weights alone know the future.
    """

    filtered: Runs
    fresh: Bool[Array, "R"]  # where the run that begins at t + 1 stands
    ending: Float[Array, "R"]  # log p(r_t, change at t + 1 | y_<=t)

    def apply(self, belief: Runs) -> Runs:
        """One step of smoothing (Fearnhead & Liu 2007, section 3.3, as a recursion over marginals)."""
        going_on = jnp.where(self.fresh, 0, belief.probs)
        began = jnp.sum(jnp.where(self.fresh, belief.probs, 0))
        total = log_sum(self.ending)
        before = jnp.where(total == -jnp.inf, 0, jnp.exp(self.ending - jnp.where(total == -jnp.inf, 0, total)))
        return eqx.tree_at(lambda runs: runs.log_weights, self.filtered, log(going_on + began * before))

    def sample(self, key: Key, state: Run) -> Run:
        """The state before: one step shorter, or a run that ended, with parameters given what it had seen."""
        shorter = Run(state.run_length - 1, state.parameters)
        return select(state.run_length > 0, shorter, self.filtered.draw(key, self.ending))


def log_sum(log_weights: Float[Array, "R"]) -> Scalar:
    """log Σ exp, with a zero gradient (not NaN) where nothing has any weight."""
    nothing = jnp.all(log_weights == -jnp.inf)
    return jnp.where(nothing, -jnp.inf, jax.nn.logsumexp(jnp.where(nothing, 0, log_weights)))
