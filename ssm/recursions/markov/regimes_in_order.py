"""An autoregressive chain walked in order: by logarithms, or by scaled probabilities with likelihoods of all times."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from ssm.beliefs import Bracketed, Categorical, LogCategorical, handed_out
from ssm.numeric.logspace import log
from ssm.passes.backward import lag_back, smooth_back
from ssm.passes.base import Walked
from ssm.passes.in_order import InOrder
from ssm.recursion import AbstractScan
from ssm.recursions.markov.counts import Known
from ssm.recursions.markov.in_order import QuickChain, ScaledChain, in_turn, quickened, summing_to_one
from ssm.recursions.markov.regimes import Regime
from ssm.schedules import AbstractSchedule
from ssm.shapes import Array, Float, Key, PyTree, Scalar
from ssm.steps import Step


class Evidence(eqx.Module):
    """One observation, its lags, and what the chain's quick form makes of the two."""

    y: Float[Array, "*batch N"]
    lags: Float[Array, "*batch R"]
    quick: PyTree


class QuickARHMM(AbstractScan[Regime]):
    """An ARHMM whose likelihoods were worked out before the scan."""

    feeds_back: ClassVar[bool] = True

    model: AbstractScan[Regime]
    chain: QuickChain
    past: Float[Array, "L N"]  # before the first observation, latest first

    def init(self, u: PyTree = None, *, key: Key | None = None) -> Regime:
        """As the model's."""
        return Regime(self.chain.init(u), self.past)

    def predict(self, belief: Regime, u: Known, *, key: Key | None = None) -> Regime:
        """As the model's."""
        return self.model.predict(belief, u)

    def update(self, prior: Regime, u: PyTree, y: Evidence, *, key: Key | None = None) -> tuple[Regime, Scalar]:
        """As the model's where the past is what the likelihoods were worked out from; NaN elsewhere."""
        assert isinstance(prior.states, Bracketed)  # by `init`
        posterior, log_evidence = self.chain.update(prior.states, u, y.quick)
        agrees = jnp.all(prior.past.reshape(-1) == y.lags)
        return prior.after(posterior, y.y), jnp.where(agrees, log_evidence, jnp.nan)

    def miss(self, prior: Regime, u: PyTree, *, key: Key | None = None) -> Regime:
        """As the model's."""
        return self.model.miss(prior, u)


class RegimesInOrder(InOrder):
    """As the chain."""

    @staticmethod
    def smooth(walked: Walked) -> Regime:
        """See `AbstractPass`."""
        back = smooth_back(walked.model, walked.prepared, walked.predicted, walked.filtered, walked.schedule)
        return Regime(summing_to_one(back.states), back.past)

    @staticmethod
    def lag(walked: Walked, lag: int) -> Regime:
        """See `AbstractPass`."""
        at_once = isinstance(walked.filtered.states, Categorical) and walked.model.chain.dynamics.is_one_matrix
        back = lag_back(walked.model, walked.prepared, walked.predicted, walked.filtered, lag, at_once)
        return Regime(summing_to_one(back.states), back.past)


class ScaledRegimes(RegimesInOrder):
    """Probabilities relative to their sum, and likelihoods of all times at once, of sequences that are here whole."""

    certain: ClassVar[bool] = False

    @classmethod
    def takes(cls, model: Any, steps: Step, schedule: AbstractSchedule) -> bool:
        """As of a chain."""
        return in_turn(schedule)

    @classmethod
    def form(cls, model: Any, steps: Step) -> tuple[QuickARHMM, Step]:
        """The chain on the table of all times."""
        lagged_steps = dataclasses.replace(steps, u=model.lags(steps.y, steps.first, steps.observed))
        chain, quick = quickened(model.chain, lagged_steps)
        prepared = dataclasses.replace(quick, y=Evidence(steps.y, lagged_steps.u, quick.y))
        return QuickARHMM(model, chain, model.past[::-1]), prepared

    @classmethod
    def at_once(cls, recursion: QuickARHMM) -> bool:
        """As of a chain."""
        return recursion.chain.chain.dynamics.is_one_matrix

    @classmethod
    def keep(cls, belief: Regime) -> Regime:
        """The probabilities, and the past."""
        return handed_out(belief)

    @classmethod
    def resume(cls, kept: Regime) -> Regime:
        """As of a chain."""
        assert isinstance(kept.states, Categorical)  # by `keep`
        return Regime(ScaledChain.resume(kept.states), kept.past)

    @classmethod
    def finish(cls, model: Any, belief: Regime) -> Regime:
        """Logarithms, and the past."""
        return Regime(LogCategorical(log(belief.probs)), belief.past)
