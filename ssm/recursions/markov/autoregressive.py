"""The autoregressive hidden Markov model: a chain whose every state is a linear autoregression."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.beliefs import Bracketed, LogCategorical
from ssm.beliefs.likelihoods import LogLikelihood
from ssm.distributions import Distribution
from ssm.emissions.regressions.multivariate_linear_regression import MultivariateLinearRegression
from ssm.numeric import checks
from ssm.numeric.checks import is_concrete
from ssm.numeric.logspace import log
from ssm.parameters import Constant, value
from ssm.passes.expectation import AbstractExpectation
from ssm.recursions.markov.counts import Counts, Known
from ssm.recursions.markov.hmm import HMM
from ssm.recursions.markov.regimes import Regime, ReversedRegime, first_gap, lagged
from ssm.recursions.markov.regimes_in_order import RegimesInOrder, ScaledRegimes
from ssm.shapes import Array, Bool, Float, Key, PyTree, Scalar
from ssm.steps import Step
from ssm.transitions.base import AbstractTransition


@final
class ARHMM(AbstractExpectation[Regime]):
    """x_1 ~ initial; x_t ~ transition[x_{t-1}]; y_t ~ N(Σ_l W_{k,l} y_{t-l} + b_k, covariance_k) with k = x_t.

    Shapes: `initial` and `transition` as in `ssm.HMM`; `weights` (K, N, L·N), the matrices W_{k,1} ... W_{k,L} side
    by side, so the latest observation's comes first; `bias` (K, N), `covariance` (K, N, N). The number of lags L
    follows. `past` (L, N) holds the observations before the first one, in order of time, for every sequence; it is
    given, not learnt, and zero by default, so that the first L observations are conditioned on zeros.

    The belief is a `Regime`: probabilities and the last L observations. A chain whose emission is a regression on
    lags, `model.chain`, does the work; `ssm.decode(model.chain, ys, model.lags(ys))` finds the best path.
    Observations cannot be missing, except after the last one of a sequence: a regression on what was not seen would
    need it integrated out. Concrete gaps raise ValueError; under jit, and in a stream, the evidence after a gap
    is NaN. Raises ValueError when shapes disagree. Source: Hamilton 1989; Poritz 1982.
    """

    event_kind: ClassVar[str] = "real"
    stands_for: ClassVar[Mapping[str, str]] = {
        "initial": "chain.initial",
        "transition": "chain.transition",
        **{name: f"chain.emission.{name}" for name in ("weights", "bias", "covariance")},
    }

    chain: HMM
    _past: Constant | Float[Array, "L N"]

    def __init__(
        self,
        initial: Array | Literal["stationary"] | None,
        transition: Array | AbstractTransition,
        weights: Array,
        bias: Array,
        covariance: Array,
        past: Array | None = None,
    ):
        emission = MultivariateLinearRegression(weights, bias, covariance)
        size, width = emission.event_shape[0], emission.num_inputs
        if width % size:
            raise ValueError(
                f"weights: expected shape (K, N, L * N), one N x N matrix per lag side by side, got {np.shape(weights)}"
            )
        lags = width // size
        past = jnp.zeros((lags, size)) if past is None else checks.real("past", past, (lags, size))
        self.chain = HMM(initial, transition, emission)
        if self.chain.dynamics.num_inputs != 0:
            raise ValueError(f"transition: a {type(transition).__name__} reads inputs, which an ARHMM does not have")
        self._past = Constant(past.astype(emission.bias.dtype))

    def _arguments(self) -> dict[str, Any]:
        """By the name of what is stored."""
        return {"chain": self.chain, "past": self.past}

    def _remade(self, given: dict[str, Any], changed: set[str]) -> "ARHMM":
        """Checked as a whole; the chain as it is given."""
        chain: HMM = given["chain"]
        regression = {name: getattr(chain.emission, name) for name in ("weights", "bias", "covariance")}
        new = ARHMM(chain._start, chain.dynamics, **regression, past=given["past"])
        object.__setattr__(new, "chain", chain)
        return new

    # -- parameters -------------------------------------------------------------------------------------------

    @property
    def initial(self) -> Float[Array, "K"]:
        """p(x_1)."""
        return self.chain.initial

    @property
    def transition(self) -> Float[Array, "K K"]:
        """p(x_t = j | x_{t-1} = i) in row i, column j."""
        return self.chain.transition

    @property
    def emission(self) -> MultivariateLinearRegression:
        """The regression on lags."""
        assert isinstance(self.chain.emission, MultivariateLinearRegression)  # made in the constructor
        return self.chain.emission

    @property
    def weights(self) -> Float[Array, "K N R"]:
        """W_{k,1} ... W_{k,L} side by side."""
        return self.emission.weights

    @property
    def bias(self) -> Float[Array, "K N"]:
        """b_k."""
        return self.emission.bias

    @property
    def covariance(self) -> Float[Array, "K N N"]:
        """Covariances of the noise."""
        return self.emission.covariance

    @property
    def past(self) -> Float[Array, "L N"]:
        """What came before the first observation, in order of time."""
        return value(self._past)

    @property
    def num_states(self) -> int:
        """K."""
        return self.chain.num_states

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(N,)."""
        return self.chain.event_shape

    @property
    def num_steps(self) -> int | None:
        """As the transition's."""
        return self.chain.num_steps

    @property
    def feeds_back(self) -> bool:
        """It reads its own past."""
        return True

    def misses_parts(self, steps: Step) -> bool:
        """No: a part of the past is no past."""
        return False

    def validate_steps(self, steps: Step) -> None:
        """Nothing is missing before the last observation of a sequence."""
        flags = (steps.observed, steps.padding, steps.first)
        if steps.observed is None or not all(is_concrete(each) for each in flags):
            return
        time = first_gap(steps)
        if time is not None:
            raise ValueError(
                f"ys: an ARHMM reads its own past, so nothing may be missing, but time step {time} has a missing "
                "value and an observation at or after it; fill the gap, or cut the sequence there (ssm.pad)"
            )

    # -- lags -------------------------------------------------------------------------------------------------

    def lags(
        self,
        ys: Float[Array, "*B T N"],
        starts: Bool[Array, "*B T"] | None = None,
        observed: Bool[Array, "..."] | None = None,
    ) -> Float[Array, "*B T R"]:
        """[y_{t-1}, ..., y_{t-L}] at all times, with `past` before each start; NaN where one of them is missing."""
        return lagged(self.past, jnp.asarray(ys), starts, observed)

    def _lagged(self, steps: Step) -> Step:
        """The steps of `chain`: lags are its inputs."""
        return dataclasses.replace(steps, u=self.lags(steps.y, steps.first, steps.observed))

    # -- the recursion ----------------------------------------------------------------------------------------

    def prepare(self, steps: Step) -> Step:
        """What the transition wants to know; the lags of a step are in the belief before it."""
        known = self.chain.prepare(self._lagged(steps)).u
        return dataclasses.replace(steps, u=Known(None, known.transition))

    def ways(self) -> tuple[type, ...]:
        """As those of a chain."""
        return ScaledRegimes, RegimesInOrder

    def init(self, u: PyTree = None, *, key: Key | None = None) -> Regime:
        """π, and what came before."""
        return Regime(self.chain.init(u), self.past[::-1])

    def predict(self, belief: Regime, u: Known, *, key: Key | None = None) -> Regime:
        """p A; what was seen stays."""
        return Regime(self.chain.predict(belief.states, u), belief.past)

    def update(
        self, prior: Regime, u: PyTree, y: Float[Array, "N"], *, key: Key | None = None
    ) -> tuple[Regime, Scalar]:
        """Reweigh by the regressions on the past, and remember y."""
        table = self.emission.log_likelihoods(y[None], prior.past.reshape(1, -1))[0]
        assert not isinstance(prior.states, Bracketed)  # which have likelihoods of their own
        posterior, log_evidence = LogLikelihood(table).reweigh(prior.states)
        return prior.after(posterior, y), log_evidence

    def miss(self, prior: Regime, u: PyTree, *, key: Key | None = None) -> Regime:
        """The states move on; the past is no longer known, and a NaN says so to whatever reads it."""
        return prior.after(prior.states, jnp.full_like(prior.past[0], jnp.nan))

    def emit(self, prior: Regime, u: PyTree) -> Distribution:
        """The mixture of the regressions on the past."""
        return self.emission.mixture(prior.probs, prior.past.reshape(-1))

    def draw_state(self, prior: Regime, key: Key) -> Regime:
        """All probability on one state."""
        certain = jax.nn.one_hot(prior.sample(key), self.num_states, dtype=prior.probs.dtype)
        return Regime(LogCategorical(log(certain)), prior.past)

    def reverse(self, filtered: Regime, predicted: Regime, u: Known) -> "ReversedRegime":
        """That of the chain; the past is certain."""
        kernel = self.chain.reverse(filtered.states, predicted.states, u)
        return ReversedRegime(kernel, filtered.past)

    # -- learning ---------------------------------------------------------------------------------------------

    def statistics(self, steps: Step, predicted: Regime, filtered: Regime, schedule: Any) -> Counts:
        """The expected counts of the chain."""
        return self.chain.statistics(self._lagged(steps), predicted.states, filtered.states, schedule)

    def expected_log_prob(self, steps: Step, statistics: Counts) -> Scalar:
        """Q of the chain."""
        return self.chain.expected_log_prob(self.chain.prepare(self._lagged(steps)), statistics)

    def log_prior(self) -> Scalar:
        """That of the chain."""
        return self.chain.log_prior()

    def maximise(self, statistics: Counts, steps: Step, frozen: frozenset[str] = frozenset()) -> "ARHMM":
        """The M-step of the chain: counts, and weighted least squares on lags."""
        inner = frozenset(name.removeprefix("chain.") for name in frozen)
        return self._with(self.chain.maximise(statistics, self._lagged(steps), inner))

    def restart(self, key: Key, steps: Step) -> "ARHMM":
        """A random start of the chain."""
        return self._with(self.chain.restart(key, self._lagged(steps)))

    def _with(self, chain: HMM) -> "ARHMM":
        return eqx.tree_at(lambda model: (model.chain, model._past), self, (chain, Constant(self.past)))
