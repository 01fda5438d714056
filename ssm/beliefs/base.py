"""What is known about the present: array-only modules, so that they cross `scan` and `vmap` unharmed.

Each is written for one instant; the verbs return them stacked, with leading axes (T, ...) or (B, T, ...).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.distributions import log_normal_density
from ssm.numeric.conditioning import condition
from ssm.numeric.linalg import matrix_times_column, multiply_small, square
from ssm.numeric.logspace import log
from ssm.numeric.protocols import unwritten
from ssm.numeric.roots import solve_lower, triangular_root
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree, Scalar

# Up to so many states a choice inside a CPU scan costs less than what it saves: it copies the matrix that it reads.
SMALL = 32


class Categorical(eqx.Module):
    """A distribution over K states."""

    probs: Float[Array, "*batch K"]

    @property
    def log_probs(self) -> Float[Array, "*batch K"]:
        """log p."""
        return log(self.probs)

    def sample(self, key: Key) -> Int[Array, ""]:
        """One state."""
        return jax.random.categorical(key, self.log_probs)

    def moved(self, transition: Any, u: PyTree) -> "Categorical":
        """One step later."""
        return Categorical(transition.push(self.probs, u))


class AbstractInner(eqx.Module):
    """A form of a belief that recursions work on, and that verbs hand out as another (`handed_out`)."""

    def plain(self) -> eqx.Module:
        """What is handed out."""
        raise unwritten(self)


class LogCategorical(AbstractInner):
    """A distribution over K states by its logarithms: a share of e^-1000 is kept, since data may come back to it."""

    log_probs: Float[Array, "*batch K"]

    @property
    def probs(self) -> Float[Array, "*batch K"]:
        """p."""
        return jnp.exp(self.log_probs)

    def sample(self, key: Key) -> Int[Array, ""]:
        """One state."""
        return jax.random.categorical(key, self.log_probs)

    def moved(self, transition: Any, u: PyTree) -> "LogCategorical":
        """One step later."""
        push = eqx.filter_checkpoint(lambda transition, logs, u: transition.push_logs(logs, u))
        return LogCategorical(push(transition, self.log_probs, u))

    def plain(self) -> Categorical:
        """Probabilities."""
        return Categorical(self.probs)


class Bracketed(AbstractInner):
    """Probabilities from below, and no less than what each state has lost to numbers too small to be held.

    Both are moved and reweighed by the same linear map, so `lost` says at every time how much of all that is likely
    now would be there besides, had nothing been lost: the proof that the fast form needs. `share` is no less than its
    sum. It is walked only while some state is so unlikely that a loss could be more than rounding (not `clean`).
    """

    probs: Float[Array, "*batch K"]
    lost: Float[Array, "*batch K"]
    share: Float[Array, "*batch"]
    clean: Bool[Array, "*batch"]

    @classmethod
    def of(cls, probs: Float[Array, "*batch K"]) -> "Bracketed":
        """Probabilities that have lost what is too small to be held."""
        least, one = least_lost(probs), jnp.ones_like(probs[..., 0])
        return cls(probs, jnp.full_like(probs, least), one * least * probs.shape[-1], one < 0)

    @property
    def least(self) -> float:
        """What one step can lose of a state."""
        return least_lost(self.probs)

    @property
    def _least_share(self) -> float:
        return self.probs.shape[-1] * self.least

    def moved(self, transition: Any, u: PyTree) -> "Bracketed":
        """One step later."""
        if len(self.probs) > SMALL:
            probs, lost = jax.vmap(lambda values: transition.push(values, u))(jnp.stack([self.probs, self.lost]))
            lost = jax.lax.stop_gradient(lost) + self.least
            return Bracketed(probs, lost, self.share + self._least_share, jnp.zeros_like(self.clean))
        probs = transition.push(self.probs, u)
        transition, lost, share = jax.lax.stop_gradient((transition, self.lost, self.share))
        # No state gets more of the losses than all of them: of every state they are then less than rounding.
        clean = share + self.least <= jnp.finfo(probs.dtype).eps ** 2 * jnp.min(probs)
        lost = jax.lax.cond(clean, lambda: jnp.zeros_like(lost), lambda: transition.push(lost, u) + self.least)
        return Bracketed(probs, lost, jnp.where(clean, 0, share + self._least_share), clean)

    def reweighed(self, weights: Float[Array, "K"]) -> "tuple[Bracketed, Scalar]":
        """Probabilities times the weights, normalised, and the normaliser: NaN where more than rounding may be lost."""
        joint = self.probs * weights
        total = jnp.sum(joint)
        least, lost, scaled = jax.lax.stop_gradient((self.least / total, self.lost, weights / total))

        def walked() -> tuple[Array, Array]:
            after = lost * scaled + least
            return after, jnp.sum(after)

        few = lambda: (jnp.full_like(lost, least), len(lost) * least)
        lost, share = walked() if len(lost) > SMALL else jax.lax.cond(self.clean, few, walked)
        # Probabilities sum to one, so the share of what was lost is what every answer may be wrong by.
        holds = (total > 0) & (share <= 4 * jnp.finfo(total.dtype).eps)
        return Bracketed(joint / total, lost, share, self.clean), jnp.where(holds, total, jnp.nan)

    def plain(self) -> Categorical:
        """The probabilities."""
        return Categorical(self.probs)


def least_lost(probs: Float[Array, "*batch K"]) -> float:
    """What products of probabilities of K states with a matrix and with likelihoods can lose of each, and more."""
    return 4.0 * (probs.shape[-1] + 2) * float(jnp.finfo(probs.dtype).tiny)


def handed_out(tree: PyTree) -> PyTree:
    """Beliefs as verbs give them, wherever they are in a tree."""
    inner = lambda node: isinstance(node, AbstractInner)
    return jax.tree.map(lambda node: node.plain() if inner(node) else node, tree, is_leaf=inner)


class Gaussian(eqx.Module):
    """A normal distribution over R^D, as mean and lower-triangular square root of the covariance."""

    mean: Float[Array, "*batch D"]
    root: Float[Array, "*batch D D"]

    @property
    def covariance(self) -> Float[Array, "*batch D D"]:
        """root @ rootᵀ."""
        return square(self.root)

    @property
    def spread(self) -> Float[Array, "*batch D D"]:
        """The root, for a distribution to read out."""
        return self.root

    def sample(self, key: Key) -> Float[Array, "D"]:
        """One point."""
        return self.mean + self.root @ jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def moved(self, matrix: Float[Array, "M D"], offset: Float[Array, "M"], noise: Array) -> "Gaussian":
        """The belief about matrix x + offset + noise ε: the root of F P Fᵀ + L Lᵀ from [F P½, L]."""
        spread = jnp.concatenate([multiply_small(matrix, self.root), noise], axis=1)
        return Gaussian(matrix_times_column(matrix, self.mean) + offset, triangular_root(spread))

    def given(
        self, matrix: Float[Array, "N D"], noise: Float[Array, "N N"], residual: Float[Array, "N"]
    ) -> "tuple[Gaussian, Scalar]":
        """The belief once matrix (x - mean) + noise ε is `residual`, and the log-density of that."""
        # 1. [[H L, R½], [L, 0]] is a root of the joint covariance of (y, x); 2. made triangular,
        # [[S½, 0], [G, P½]], it shows the innovation covariance S, the gain G S^-½ and the posterior root.
        innovation, gain, root = condition(matrix, self.root, noise)
        mean = self.mean + matrix_times_column(gain, solve_lower(innovation, residual))
        return Gaussian(mean, root), log_normal_density(residual, innovation)


class Point(eqx.Module):
    """Certainty: a deterministic state, an array or any tree of arrays."""

    state: PyTree

    def sample(self, key: Key | None) -> PyTree:
        """The state itself."""
        return self.state


class Particles(eqx.Module):
    """A weighted sample of P points.

    `ancestors[i]` is the index, one step earlier, of the point that `points[i]` came from.
    """

    points: PyTree
    log_weights: Float[Array, "*batch P"]
    ancestors: Int[Array, "*batch P"]

    @property
    def weights(self) -> Float[Array, "*batch P"]:
        """Weights that sum to one."""
        return jax.nn.softmax(self.log_weights, axis=-1)

    @property
    def mean(self) -> PyTree:
        """Weighted mean of the points; of discrete states, of their numbers."""
        rank = self.log_weights.ndim

        def average(points: Array) -> Array:
            extra = (1,) * (points.ndim - rank)
            points = points.astype(self.log_weights.dtype)  # of discrete states too
            return jnp.sum(points * self.weights.reshape(self.weights.shape + extra), axis=rank - 1)

        return jax.tree.map(average, self.points)

    @property
    def effective_size(self) -> Float[Array, "*batch"]:
        """1 / Σ w², between 1 and P (Kong, Liu & Wong 1994)."""
        return 1 / jnp.sum(self.weights**2, axis=-1)

    def sample(self, key: Key) -> PyTree:
        """One of the points, drawn by weight."""
        i = jax.random.categorical(key, self.log_weights)
        return jax.tree.map(lambda points: points[i], self.points)
