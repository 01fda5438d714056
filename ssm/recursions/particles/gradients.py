"""How the evidence of particles is differentiated: a type per estimator of its gradient.

What is drawn and weighed is the same for all of them: an estimator says which draws parameters are seen to move, and
adds to the log-weights zeros that have a derivative.
"""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.beliefs import Particles
from ssm.distributions import held, held_log_prob, moves_support
from ssm.numeric.protocols import unwritten
from ssm.numeric.trees import index
from ssm.shapes import Array, Bool, Float, Int, PyTree, Scalar


class AbstractGradient(eqx.Module):
    """What parameters move besides the weights that observations give."""

    def follow(self, distribution: Any, draw: PyTree) -> PyTree:
        """A draw as later steps see it."""
        raise unwritten(self)

    def started(self, model: Any, u: PyTree, points: PyTree, zeros: Float[Array, "P"]) -> Float[Array, "P"]:
        """What is added to the first log-weights."""
        raise unwritten(self)

    def moved(
        self, model: Any, u: PyTree, before: Particles, points: PyTree, ancestors: Int[Array, "P"], few: Bool[Array, ""]
    ) -> Float[Array, "P"]:
        """What is added to the log-weights of `points`, which were drawn given `ancestors`; `few`: they were chosen."""
        raise unwritten(self)


@final
class Score(AbstractGradient):
    """Fisher's identity along the line of ancestors of each particle."""

    def follow(self, distribution: Any, draw: PyTree) -> PyTree:
        """As a number, which only its density moves."""
        return held(distribution, draw)

    def started(self, model: Any, u: PyTree, points: PyTree, zeros: Float[Array, "P"]) -> Float[Array, "P"]:
        """The score of the first state."""
        return _initial_score(model, u, points)

    def moved(
        self, model: Any, u: PyTree, before: Particles, points: PyTree, ancestors: Int[Array, "P"], few: Bool[Array, ""]
    ) -> Float[Array, "P"]:
        """What the ancestor carries, and the score of the transition."""
        density = lambda parent, point: _log_density(model.next_state(parent, u), point)
        densities = jax.vmap(density)(index(before.points, ancestors), points)
        return _tangent(before.log_weights)[ancestors] + _score(densities)


@final
class Marginal(AbstractGradient):
    """Fisher's identity over all particles that each could come from."""

    def follow(self, distribution: Any, draw: PyTree) -> PyTree:
        """As a number, which only its density moves."""
        return jax.lax.stop_gradient(draw)

    def started(self, model: Any, u: PyTree, points: PyTree, zeros: Float[Array, "P"]) -> Float[Array, "P"]:
        """The score of the first state."""
        return _initial_score(model, u, points)

    def moved(
        self, model: Any, u: PyTree, before: Particles, points: PyTree, ancestors: Int[Array, "P"], few: Bool[Array, ""]
    ) -> Float[Array, "P"]:
        """The score of Σ_i w_i p(x' | x_i)."""

        def density(point: PyTree) -> Scalar:
            given = lambda parent: _marginal_log_density(model.next_state(parent, u), point)
            return jax.nn.logsumexp(before.log_weights + jax.vmap(given)(before.points))

        return _score(jax.vmap(density)(points))


@final
class Reparameterised(AbstractGradient):
    """Derivatives of the draws, and the scores of the choices of who survives."""

    def follow(self, distribution: Any, draw: PyTree) -> PyTree:
        """As the function of its parameters that it is."""
        return _differentiable(draw)

    def started(self, model: Any, u: PyTree, points: PyTree, zeros: Float[Array, "P"]) -> Float[Array, "P"]:
        """Nothing."""
        return zeros

    def moved(
        self, model: Any, u: PyTree, before: Particles, points: PyTree, ancestors: Int[Array, "P"], few: Bool[Array, ""]
    ) -> Float[Array, "P"]:
        """What the ancestor carries."""
        return _tangent(before.log_weights)[ancestors]


@final
class Biased(AbstractGradient):
    """Derivatives of the draws, as if the choices of who survives did not depend on parameters."""

    def follow(self, distribution: Any, draw: PyTree) -> PyTree:
        """As the function of its parameters that it is."""
        return draw

    def started(self, model: Any, u: PyTree, points: PyTree, zeros: Float[Array, "P"]) -> Float[Array, "P"]:
        """Nothing."""
        return zeros

    def moved(
        self, model: Any, u: PyTree, before: Particles, points: PyTree, ancestors: Int[Array, "P"], few: Bool[Array, ""]
    ) -> Float[Array, "P"]:
        """What a particle carries, unless it was chosen."""
        return jnp.where(few, 0, _tangent(before.log_weights))


GRADIENTS: dict[str, AbstractGradient] = {
    "score": Score(),
    "marginal": Marginal(),
    "reparameterised": Reparameterised(),
    "biased": Biased(),
}


def _differentiable(draw: PyTree) -> PyTree:
    if not all(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in jax.tree.leaves(draw)):
        raise TypeError(
            'gradient: "reparameterised" needs states that are differentiable functions of the parameters, and this '
            'model has discrete ones; use "score" (the default) or "marginal"'
        )
    return draw


def _tangent(values: Float[Array, "P"]) -> Float[Array, "P"]:
    """Zeros with the derivative of `values`; none where these are infinite, of what has no weight."""
    there = jnp.isfinite(values)
    values = jnp.where(there, values, 0)
    return values - jax.lax.stop_gradient(values)


@jax.custom_jvp
def _score(log_densities: Float[Array, "P"]) -> Float[Array, "P"]:
    """Zeros with the derivative of what is given: where nothing is differentiated, that is never worked out."""
    zeros = jnp.zeros_like(log_densities)
    return jnp.where(jnp.isnan(log_densities), zeros, zeros)  # under vmap, of a batch is what the batch is of


@_score.defjvp
def _score_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # A draw without a density has no score: a plausible number would be worse than none.
    known = jnp.where(jnp.isfinite(primals[0]), 1, jnp.nan).astype(primals[0].dtype)
    return _score(*primals), tangents[0] * known


def _initial_score(model: Any, u: PyTree, points: PyTree) -> Float[Array, "P"]:
    start = model.initial_state(u)
    return _score(jax.vmap(lambda point: _log_density(start, point))(points))


def _log_density(distribution: Any, point: PyTree) -> Scalar:
    """log p(point); what has a derivative, but no density to tell it by, is an error where that is asked for."""
    if hasattr(distribution, "log_prob"):
        return held_log_prob(distribution, point)
    return _refused(
        f"gradient: the score of particles needs densities, and a {type(distribution).__name__} has no log_prob; give "
        'it one, or pass gradient="reparameterised" if its draws can be differentiated',
        (distribution, point),
    )


def _marginal_log_density(distribution: Any, point: PyTree) -> Scalar:
    """As `_log_density`, where nothing is followed."""
    if hasattr(distribution, "log_prob") and moves_support(distribution):
        return _refused(
            f'gradient: "marginal" needs densities, and the support of a {type(distribution).__name__} moves with its '
            'parameters; use "score" (the default)',
            (distribution, point),
        )
    return _log_density(distribution, point)


def _refused(message: str, operands: PyTree) -> Scalar:
    """Zero, and TypeError where it is differentiated with respect to any number among the operands."""

    @jax.custom_jvp
    def nothing(numbers: list[Array]) -> Array:
        return jnp.zeros(())

    @nothing.defjvp
    def refuse(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
        raise TypeError(message)

    return nothing([leaf for leaf in jax.tree.leaves(operands) if eqx.is_inexact_array(leaf)])
