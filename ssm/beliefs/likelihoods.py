"""Two forms of log p(y_t | x_t = k), and what each does to a distribution over states."""

import equinox as eqx
import jax.numpy as jnp

from ssm.beliefs.base import Bracketed, Categorical, LogCategorical
from ssm.numeric.logspace import finite_max, log_sum
from ssm.shapes import Array, Float, Scalar


class LogLikelihood(eqx.Module):
    """The safe form: logarithms of everything, so that no state is lost that is possible at all.

    With prior [1, 0] and log-likelihoods [-120, 0] a plain scaled recursion multiplies 1 · exp(-120) in float32, gets
    zero and loses the sequence; one that only ever keeps probabilities loses every state that data first speak
    against and then for.
    """

    values: Float[Array, "*batch K"]

    def reweigh(self, prior: Categorical | LogCategorical) -> tuple[LogCategorical, Scalar]:
        """Bayes' rule: the posterior, and log Σ_k prior_k exp(values_k).

        Where the observation is impossible the evidence is -inf and the prior is kept, so that later steps
        can still be told apart from this one.
        """
        before = prior.log_probs
        joint = jnp.where(before == -jnp.inf, -jnp.inf, before + self.values)
        total = log_sum(joint)
        impossible = total == -jnp.inf
        return LogCategorical(jnp.where(impossible, before, joint - jnp.where(impossible, 0, total))), total


class ScaledLikelihood(eqx.Module):
    """The fast form: exponentials taken for all times before the scan, relative to the best state of each row.

    Probabilities that fall below the smallest number are lost. Where it cannot be shown that what they would have
    become makes no difference to any answer, the evidence is NaN, and the driver runs the safe form instead.
    """

    weights: Float[Array, "*batch K"]
    shift: Float[Array, "*batch"]

    @classmethod
    def of(cls, log_likelihoods: Float[Array, "*batch K"]) -> "ScaledLikelihood":
        """The fast form of a table of log-likelihoods."""
        shift = finite_max(log_likelihoods)
        return cls(jnp.exp(log_likelihoods - shift[..., None]), shift)

    def reweigh(self, prior: Bracketed) -> tuple[Bracketed, Scalar]:
        """Bayes' rule without a maximum inside the scan."""
        posterior, total = prior.reweighed(self.weights)
        return posterior, jnp.log(total) + self.shift
