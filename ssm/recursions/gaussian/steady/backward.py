"""Smoothing and slopes of a linear-Gaussian model with constant matrices (see `blocks`)."""

from typing import Any

import jax
import jax.numpy as jnp

from ssm.beliefs import Gaussian
from ssm.numeric.linalg import multiply, square
from ssm.numeric.roots import clear_pivots, semidefinite_root
from ssm.numeric.trees import widen
from ssm.passes.base import Answer
from ssm.passes.blocks import still
from ssm.recursions.gaussian.adjoint import recursion as adjoint
from ssm.recursions.gaussian.adjoint import smoothing as adjoint_smoothing
from ssm.recursions.gaussian.adjoint.in_order import KalmanInOrder
from ssm.recursions.gaussian.adjoint.recursion import Sensitivities
from ssm.recursions.gaussian.adjoint.smoothing import little_subtracted
from ssm.recursions.gaussian.learning.moments import First, States, moments
from ssm.recursions.gaussian.steady.backward_covariances import Backward, Relaxed, relax, weighted, where_moving
from ssm.recursions.gaussian.steady.blocks import Parts, after, before, sweep
from ssm.recursions.gaussian.steady.forward import SteadyWalk
from ssm.recursions.gaussian.steady.riccati import Closed
from ssm.recursions.gaussian.steady.slopes import Sums, Walked, step_back
from ssm.recursions.gaussian.system.dynamics import reversed_kernel
from ssm.shapes import Array, Bool, Flag, Float, Int, Scalar
from ssm.steps import Step, flatten_steps


class SteadyKalman(SteadyWalk):
    """The way there and the way back."""

    def smoothed(self) -> Answer:
        """See `AbstractPass`.

        Means a + P r, and covariances by the reversed kernels of Rauch, Tung & Striebel, which subtract nothing; by
        them also means of early times of which the future knows so much more than the past that a + P r would cancel.
        """
        found, kernels = self._by_kernels()
        roots = found.each(semidefinite_root, found.all)
        exact = little_subtracted(self.covariances.head.gains.root, roots[: self.split.head])
        means = self._walk_back(jnp.ones(self.split.count, self.innovation.head.dtype))[0].mean
        early = lambda: self._early_means(means, kernels, exact)
        mean = self.split.join(jax.lax.cond(jnp.all(exact), lambda: means, early))
        holds = self.covariances.holds & self._holds(found) & self._know_more(found) & self._clear()
        roots = roots[self._entries(found)]
        return Answer(holds, still(self._unbatched(Gaussian(mean, roots)), self.steps))

    smooth = staticmethod(KalmanInOrder.smooth)
    lag = staticmethod(KalmanInOrder.lag)
    draw = staticmethod(KalmanInOrder.draw)

    def _by_kernels(self) -> tuple[Relaxed, Float[Array, "H D D"]]:
        """Smoothed covariances, and the gains of the kernels that lead to the times of the head."""
        system, roots = self.system, self.covariances.head.gains.root

        def back(root: Float[Array, "D D"]) -> Backward:
            gain, rest = reversed_kernel(system.transition, root, system.noise)
            return Backward(gain, square(rest))

        rest = self.covariances.steady.gains.root
        before = jnp.concatenate([roots[:1], roots[:-1]])  # the kernel to t - 1, at t
        steady, moving = back(rest), self.covariances.moving + 1
        kernels = where_moving(back, before, steady, moving)
        gains = jnp.concatenate([kernels.matrix[1:], steady.matrix[None]])
        return self._relax(square(rest if self._after_head else roots[-1]), steady, kernels, moving), gains

    def _early_means(self, means: Parts, kernels: Float[Array, "H D D"], exact: Bool[Array, "H"]) -> Parts:
        """Smoothed means, through the reversed kernels where a + P r is not exact."""
        filtered = self.predicted.head + self._acting(lambda step: step.gains.gain).act(self.innovation).head
        moved = means.map(jnp.subtract, self.predicted)
        later = after(moved, self.split).head[-1]

        def back(later: Array, now: tuple[Array, ...]) -> tuple[Array, Array]:
            direct, filtered, predicted, kernel, exact = now
            mean = jnp.where(exact, direct, filtered + multiply(kernel, later))
            return mean - predicted, mean

        seen = means.head, filtered, self.predicted.head, kernels, exact
        return Parts(jax.lax.scan(back, later, seen, reverse=True)[1], means.tail)

    def sensitivities(self, counted: Float[Array, "*B"]) -> Answer:
        """Of all sequences together, those of offsets step after step of all sequences after each other."""
        holds, slopes, _ = self._expected(counted if self.steps.t.ndim == 2 else None)
        return Answer(holds, slopes)

    def first_order(self, model: Any, steps: Step, sensitivities: Sensitivities, counted: Float[Array, "*B"]) -> Scalar:
        """In that order."""
        found = model.first_order(model.prepare(self._flat_steps(steps)), sensitivities)
        return found if steps.t.ndim == 2 else counted * found

    def statistics(self) -> Answer:
        """Of one sequence; those of each of a batch in order."""
        return super().statistics() if self.steps.t.ndim == 2 else self.moments(None)

    def maximised(self, frozen: frozenset[str]) -> Answer:
        """From the moments of all sequences together."""
        holds, moments = self.moments(None)
        return Answer(holds, self.model.maximise(moments, self.steps, frozen))

    def moments(self, counted: Float[Array, "B"] | None) -> Answer:
        """Statistics of all sequences together, each counted once or as often as it says."""
        holds, slopes, states = self._expected(counted)
        return Answer(holds, moments(self.model, self._flat_steps(self.steps).u, slopes, states))

    def _flat_steps(self, steps: Step) -> Step:
        """Sequence after sequence."""
        return flatten_steps(steps, self.model.event_shape) if steps.t.ndim == 2 else steps

    def _expected(self, counted: Float[Array, "B"] | None) -> tuple[Flag, Sensitivities, States]:
        """Sensitivities and smoothed states."""
        often = jnp.ones(self.split.count, self.innovation.head.dtype) if counted is None else counted
        walked, sums = self._walk_back(often)
        found = self._adjoint_covariances()
        behind, pulled, through, observed, blurred = self._slopes_of_entries(found)
        weights = self._weights(found, often)
        moved = weights.at[0].set(0)  # nothing leads into the first time
        first = walked.slope.head[0]
        slopes = Sensitivities(
            initial_mean=multiply(first, often),
            initial_covariance=(multiply(first * often, first.T) - jnp.sum(often) * pulled[0]) / 2,
            transition=sums.transition - weighted(moved, through),
            transition_covariance=(sums.transition_covariance - weighted(moved, pulled)) / 2,
            emission=sums.emission - weighted(weights, observed),
            emission_covariance=(sums.emission_covariance - weighted(weights, blurred)) / 2,
            transition_offset=self._flat(walked.slope, self._times(often).at[:, 0].set(0)),
            emission_offset=self._flat(walked.noise_slope, self._times(often)),
        )
        states, exact = self._expected_states(walked, found, behind, weights, often)
        return self.holds & self._holds(found) & (exact | self._clear()), slopes, states

    def _times(self, often: Float[Array, "B"]) -> Float[Array, "B T"]:
        return jnp.broadcast_to(often[:, None], (self.split.count, self.split.total))

    def _flat(self, parts: Parts, often: Float[Array, "B T"] | None = None) -> Float[Array, "M n"]:
        """Step after step of all sequences after each other, times how often each counts."""
        array = self.split.join(parts)
        return (array if often is None else array * often[..., None]).reshape(-1, array.shape[-1])

    def _expected_states(
        self, walked: Walked, found: Relaxed, behind: Array, weights: Float[Array, "M"], often: Float[Array, "B"]
    ) -> tuple[States, Flag]:
        """And whether the adjoint knew all of them."""
        smoothed, spread, exact = self._states(walked.mean, found, behind)
        last = len(weights) - 1 - (not self._after_head)  # the entry of the last times
        there = self._times(often) * self._real.astype(often.dtype)
        states = States(
            self._flat(before(smoothed, self.split)),
            self._flat(smoothed),
            there.at[:, 0].set(0).reshape(-1),
            there.reshape(-1),
            weighted(weights.at[last].add(-jnp.sum(often)), spread),
            weighted(weights, spread),
            jnp.sum(often),
            First.of(smoothed.head[0].T - self.model.initial_mean, spread[0], often, exact[0]),
        )
        return states, jnp.all(exact)

    def _states(
        self, state: Parts, found: Relaxed, behind: Float[Array, "M D D"]
    ) -> tuple[Parts, Float[Array, "M D D"], Bool[Array, "H"]]:
        """Smoothed means, and covariances of every entry, and at which times of the head the adjoint knew them."""
        size = self.split.head
        roots = self._entry_steps(found).gains.root
        spread = adjoint.smoothed_covariance(roots, behind)
        exact = adjoint_smoothing.left(roots[:size], behind[:size])[1]

        def early() -> tuple[Parts, Float[Array, "M D D"]]:
            found, kernels = self._by_kernels()
            head = jnp.where(widen(exact, 3), spread[:size], found.head)
            return self._early_means(state, kernels, exact), jnp.concatenate([head, spread[size:]])

        return *jax.lax.cond(jnp.all(exact), lambda: (state, spread), early), exact

    def _walk_back(self, often: Float[Array, "B"]) -> tuple[Walked, Sums]:
        """Slopes and smoothed means of all times, and sums that count each sequence as often as it says."""
        split, (head, steady, *_) = self.split, self.covariances
        rules = Parts(
            (head, jnp.broadcast_to(often, (split.head, split.count))), (steady, jnp.repeat(often, split.blocks))
        )
        real = (None, None)
        if self.steps.padding is not None or split.filled:
            real = split.split(self._real[..., None])
        inputs = Parts(*zip(self.innovation, self.predicted, real, strict=True))
        nothing = jnp.zeros((len(self.model.initial_mean), split.count), often.dtype)
        return sweep(step_back, rules, steady.loop.T, inputs, nothing, split, reverse=True)

    def _adjoint_covariances(self) -> Relaxed:
        """N_{t+1} at t."""
        start = jnp.zeros_like(self.model.initial_root)
        head, steady = (_adjoint(step) for step in self.covariances[:2])
        return self._relax(start, steady, head, self.covariances.moving)

    def _slopes_of_entries(self, found: Relaxed) -> tuple[Float[Array, "M ..."], ...]:
        """Of every N_{t+1}: Fᵀ N F and N_t, and what these take from the slopes in F, in H and in R."""
        transition = self.system.transition

        def one(entry: tuple) -> tuple:
            after, step, root_before = entry
            behind, pulled = multiply(transition.T, after, transition), _adjoint(step).apply(after)
            through = multiply(pulled, transition, square(root_before))
            return behind, pulled, through, *adjoint.emitted(step.gains, behind)

        steps = self._entry_steps(found)
        return found.each(one, (found.all, steps, adjoint.before(steps.gains.root)))

    # -- which entry of what is walked back from the end stands for which time ----------------------------------

    def _relax(self, last: Float[Array, "D D"], steady: Backward, head: Backward, moving: Int[Array, ""]) -> Relaxed:
        return relax(last, steady, head, moving, min(self.split.head, self._after_head))

    def _holds(self, found: Relaxed) -> Flag:
        """Whether the entries are right for all sequences: long ones, or of one length."""
        ends = self.split.head + len(found.tail)
        if self.steps.padding is None:
            return found.holds | (ends == self.split.total)
        return found.holds & jnp.all(self._lengths >= ends) & (self._after_head > 0)

    def _know_more(self, found: Relaxed) -> Flag:
        """Whether no smoothed variance exceeds its filtered one, as where rounding grows on the way back.

        It does where filtered states become certain: such kernels back do not contract. In order they are others.
        """
        gains, variances = self._entry_steps(found).gains, lambda root: jnp.sum(root**2, axis=-1)
        slack = jnp.sqrt(jnp.finfo(gains.root.dtype).eps) * variances(gains.prior)
        return jnp.all(jnp.diagonal(found.all, axis1=-2, axis2=-1) <= variances(gains.root) + slack)

    def _clear(self) -> Flag:
        """Whether reversed kernels lose no more than half of the digits at any step, dividing by a prediction.

        Where states become certain, or a noise leaves a combination of them without any, they do.
        """
        system, (head, steady, *_) = self.system, self.covariances
        clear = lambda ahead, root: jnp.all(clear_pivots(ahead, system.transition, root, system.noise))
        early = clear(head.gains.prior[1:], head.gains.root[:-1])
        return early & clear(steady.gains.prior, steady.gains.root)

    def _entries(self, found: Relaxed) -> Int[Array, "B T"]:
        """The entry for each time: one each at the start and at the end, one for all between."""
        times, lengths, tail = jnp.arange(self.split.total), self._lengths[:, None], len(found.tail)
        from_end = self.split.head + 1 + times - (lengths - tail)
        entries = jnp.where(times < self.split.head, times, jnp.maximum(from_end, self.split.head))
        return jnp.minimum(entries, self.split.head + tail)

    def _weights(self, found: Relaxed, often: Float[Array, "B"]) -> Float[Array, "M"]:
        """How many times stand behind each entry."""
        alone = jnp.ones(len(found.all), often.dtype).at[self.split.head].set(0) * jnp.sum(often)
        between = (self._lengths - self.split.head - len(found.tail)).astype(often.dtype)
        return alone.at[self.split.head].set(jnp.sum(often * between))

    def _entry_steps(self, found: Relaxed) -> Closed:
        again = lambda one: jnp.broadcast_to(one, (1 + len(found.tail), *one.shape))
        both = lambda many, one: jnp.concatenate([many, again(one)])
        return jax.tree.map(both, self.covariances.head, self.covariances.steady)


def _adjoint(step: Closed) -> Backward:
    """From N_{t+1} to N_t."""
    return Backward(_transposed(step.loop), step.information)


def _transposed(matrix: Float[Array, "*M I J"]) -> Float[Array, "*M J I"]:
    return jnp.swapaxes(matrix, -1, -2)
