"""Two forms of log p(y_t | x_t = k), and what each does to a distribution over states."""

import equinox as eqx
import jax.numpy as jnp

from ssm.beliefs import Categorical
from ssm.logspace import finite_max
from ssm.shapes import Array, Float, Scalar


class LogLikelihood(eqx.Module):
    """The safe form: exponentials are taken relative to the best state that is possible at all.

    With prior [1, 0] and log-likelihoods [-120, 0] a plain scaled recursion multiplies 1 · exp(-120) in
    float32, gets zero and loses the sequence; shifted by the maximum over the support it loses nothing.
    """

    values: Float[Array, "*batch K"]

    def reweigh(self, prior: Categorical) -> tuple[Categorical, Scalar]:
        """Bayes' rule: the posterior, and log Σ_k prior_k exp(values_k).

        Where the observation is impossible the evidence is -inf and the prior is kept, so that later steps
        can still be told apart from this one.
        """
        shift = finite_max(self.values, prior.probs > 0)
        weights = prior.probs * jnp.exp(jnp.where(prior.probs > 0, self.values - shift, 0))
        total = jnp.sum(weights)
        impossible = total == 0
        safe = jnp.where(impossible, 1, total)
        posterior = jnp.where(impossible, prior.probs, weights / safe)
        return Categorical(posterior), jnp.where(impossible, -jnp.inf, jnp.log(safe) + shift)


class ScaledLikelihood(eqx.Module):
    """The fast form: exponentials taken for all times before the scan, relative to the best state of each row.

    Wrong only where the states that are possible have almost no share of the best likelihood; there the
    evidence is NaN, and the driver runs the safe form instead.
    """

    weights: Float[Array, "*batch K"]
    shift: Float[Array, "*batch"]

    @classmethod
    def of(cls, log_likelihoods: Float[Array, "*batch K"]) -> "ScaledLikelihood":
        """The fast form of a table of log-likelihoods."""
        shift = finite_max(log_likelihoods)
        return cls(jnp.exp(log_likelihoods - shift[..., None]), shift)

    def reweigh(self, prior: Categorical) -> tuple[Categorical, Scalar]:
        """Bayes' rule without a maximum inside the scan."""
        weights = prior.probs * self.weights
        total = jnp.sum(weights)
        # A share below tiny^(1/3) (1e-13 in float32) could have pushed other states under the smallest number.
        lowest = jnp.finfo(total.dtype).tiny ** (1 / 3)
        return Categorical(weights / total), jnp.log(jnp.where(total > lowest, total, jnp.nan)) + self.shift
