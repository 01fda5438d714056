"""Smoothed states of a linear-Gaussian model by orthogonal matrices, which neither divide nor subtract.

What is known of a state before it is seen is x_t = a_t + L_t ξ_t with ξ_t ~ N(0, I). The noises of one step are turned,

    [H L_t   R½   0 ]       [S½   0        0]
    [F L_t   0    Q½]  Θ  = [K    L_{t+1}  0],      (ξ_t, v_t, w_t) = Θ (ν_t, ξ_{t+1}, ε_t),

into ν_t, which the observation tells, ξ_{t+1}, and ε_t, of which nobody ever learns (Kailath, Sayed & Hassibi 2000,
section 12.5; Park & Kailath 1996). The rows of ξ_t in Θ are the kernel from ξ_{t+1} back to ξ_t: parts of an orthogonal
matrix, so no step back can make rounding grow, whether a state is certain, a noise singular or a start vague.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ssm.beliefs import Gaussian
from ssm.maps.gaussian import GaussianKernel
from ssm.numeric.linalg import matrix_times_column, multiply
from ssm.numeric.roots import orthogonalised, solve_lower, triangular_root
from ssm.numeric.trees import select
from ssm.recursions.gaussian.adjoint.recursion import Seen
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree
from ssm.steps import Step


class Whitened(NamedTuple):
    """The states of T times, each as what is known before it is seen and how it follows from the one after it."""

    mean: Float[Array, "T D"]  # a_t
    root: Float[Array, "T D D"]  # L_t, not triangular
    kernel: GaussianKernel  # (T, ...), from ξ_{t+1} to ξ_t
    ends: Bool[Array, "T"]  # where nothing after it tells of ξ_{t+1}

    def smoothed(self) -> Gaussian:
        """p(x_t | y_{1:T})."""

        def back(later: Gaussian, now: tuple) -> tuple[Gaussian, Gaussian]:
            here = self._before(later, *now)
            return here, here

        found = jax.lax.scan(back, self._nothing(), (self.kernel, self.ends), reverse=True)[1]
        return self._unwhitened(found)

    def lagged(self, lag: int) -> Gaussian:
        """p(x_t | y_{1:t+lag}), of `lag` more observations at all times at once."""
        every = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(self.mean), *leaf.shape)), self._nothing())

        def back(_: Array, later: Gaussian) -> Gaussian:
            following = jax.tree.map(lambda leaf: jnp.concatenate([leaf[1:], leaf[-1:]]), later)
            return jax.vmap(self._before)(following, self.kernel, self.ends)

        return self._unwhitened(jax.lax.fori_loop(0, lag + 1, back, every))

    def draw(self, key: Key, times: Int[Array, "T"]) -> Float[Array, "T D"]:
        """A path from p(x_{1:T} | y_{1:T}), with a key of its own for every time."""
        size = self.mean.shape[1]

        def back(later: Float[Array, "D"], now: tuple) -> tuple[Array, Array]:
            kernel, ends, t = now
            for_end, for_noise = jax.random.split(jax.random.fold_in(key, t))
            later = jnp.where(ends, jax.random.normal(for_end, (size,), later.dtype), later)
            noise = multiply(kernel.noise, jax.random.normal(for_noise, kernel.noise.shape[1:], later.dtype))
            here = multiply(kernel.matrix, later) + kernel.offset + noise
            return here, here

        found = jax.lax.scan(back, self._nothing().mean, (self.kernel, self.ends, times), reverse=True)[1]
        return self.mean + jax.vmap(matrix_times_column)(self.root, found)

    def _nothing(self) -> Gaussian:
        """N(0, I)."""
        size = self.mean.shape[1]
        return Gaussian(jnp.zeros_like(self.mean[0]), jnp.eye(size, dtype=self.mean.dtype))

    def _before(self, later: Gaussian, kernel: GaussianKernel, ends: Bool[Array, ""]) -> Gaussian:
        return kernel.apply(select(ends, self._nothing(), later))

    def _unwhitened(self, found: Gaussian) -> Gaussian:
        mean = self.mean + jax.vmap(matrix_times_column)(self.root, found.mean)
        return Gaussian(mean, jax.vmap(triangular_root)(multiply(self.root, found.root)))


class _Told(NamedTuple):
    """What one time is told."""

    initial: Float[Array, "D D"]  # the root with which a state begins
    begins: Bool[Array, ""]
    padding: Bool[Array, ""]
    emission: Float[Array, "N D"]
    blur: Float[Array, "N N"]
    silent: Bool[Array, "N"]  # components that say nothing
    residual: Float[Array, "N"]
    transition: Float[Array, "D D"]  # into the time after it
    noise: Float[Array, "D D"]


def whitened(model: Any, steps: Step, predicted: Any, seen: Seen, begins: Bool[Array, "T"] | None = None) -> Whitened:
    """Of prepared steps, from predicted beliefs; `begins`: where the root is that of the prediction.

    By default where a sequence begins.
    """
    first = jnp.zeros(len(steps.t), bool).at[0].set(True)
    first = first if steps.first is None else first | steps.first
    padding = jnp.zeros_like(first) if steps.padding is None else steps.padding
    following = lambda tree: jax.tree.map(lambda leaf: jnp.concatenate([leaf[1:], leaf[-1:]]), tree)

    def told(step: Step, after: PyTree, prior: Any, seen: Seen, begins: Array, padding: Array) -> _Told:
        (matrix, offset, blur), value, _ = model._measured(step.u, step.y)
        silent = jnp.all(seen.gains.whiten == 0, axis=-1)
        residual = jnp.where(silent, 0, value - matrix_times_column(matrix, prior.mean) - offset)
        transition, _, noise = model._transition(after)
        return _Told(prior.root, begins, padding, matrix, blur, silent, residual, transition, noise)

    begins = first if begins is None else first | begins
    given = jax.vmap(told)(steps, following(steps.u), predicted, seen, begins, padding)
    roots, kernels = jax.lax.scan(_turn, jnp.zeros_like(predicted.root[0]), given)[1]
    ends = (following(first) | following(padding)).at[-1].set(True)
    return Whitened(predicted.mean, roots, kernels, ends)


def _turn(before: Float[Array, "D D"], now: _Told) -> tuple[Array, tuple[Array, GaussianKernel]]:
    """The next root, from the one before; and the root and the kernel of this time."""
    root = jnp.where(now.begins, now.initial, before)
    seen, size = now.emission.shape
    # A component that says nothing reads zero with a noise of its own.
    matrix, blur = (jnp.where(now.silent[:, None], 0, array) for array in (now.emission, now.blur))
    own, nothing = jnp.diag(now.silent.astype(root.dtype)), jnp.zeros((size, seen), root.dtype)
    above = jnp.concatenate([multiply(matrix, root), blur, own, jnp.zeros((seen, size), root.dtype)], axis=1)
    below = jnp.concatenate([multiply(now.transition, root), nothing, nothing, now.noise], axis=1)
    lower, turn = orthogonalised(jnp.concatenate([above, below]))
    back = turn[:size]
    offset = multiply(back[:, :seen], solve_lower(lower[:seen, :seen], now.residual))
    kernel = GaussianKernel(back[:, seen : seen + size], offset, back[:, seen + size :])
    following = lower[seen:, seen:]
    return jnp.where(now.padding, before, following), (root, kernel)
