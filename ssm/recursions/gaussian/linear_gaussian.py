"""The linear-Gaussian state-space model: the recursion whose belief is a normal distribution (Kalman 1960)."""

from typing import Any, ClassVar, final

import jax.numpy as jnp

from ssm.beliefs.diffuse import DiffuseGaussian
from ssm.passes.capabilities import AbstractDisturbed
from ssm.passes.expectation import AbstractExpectation
from ssm.recursions.gaussian.adjoint import disturbances as noises
from ssm.recursions.gaussian.adjoint import smoothing as adjoint_smoothing
from ssm.recursions.gaussian.kalman import Belief, LinearFilter
from ssm.recursions.gaussian.learning import m_step, moments
from ssm.recursions.gaussian.learning.moments import Moments
from ssm.recursions.gaussian.regression.subspace import identified
from ssm.shapes import Array, Float, Key, Scalar
from ssm.steps import Step


@final
class LinearGaussian(LinearFilter, AbstractExpectation[Belief], AbstractDisturbed[Belief]):
    """A linear state seen through linear, noisy eyes.

        x_1 ~ N(initial_mean, initial_covariance)
        x_t = transition_matrix x_{t-1} + transition_bias + transition_input u_t + N(0, transition_covariance)
        y_t = emission_matrix x_t + emission_bias + emission_input u_t + N(0, emission_covariance)

    Shapes: (D,), (D, D), (D, D), (D, D), (N, D), (N, N); biases (D,) and (N,); inputs (D, U) and (N, U). All but
    the initial two may have a leading axis T; entry t then leads into, or is seen at, time t (entry 0 of a
    transition moves nothing). Covariances may be singular; given as `ssm.Diagonal(variances)`,
    `ssm.Spherical(variance, size)` or `ssm.BlockDiagonal(blocks)`, they stay so in every fit, and so do matrices,
    inputs and biases given as `ssm.Tied(values, groups)`, entries of which are one parameter. Raises ValueError when
    shapes disagree and for asymmetric or indefinite covariances.

    The belief is (mean, triangular root); in order, every step makes stacked roots triangular, which keeps
    covariances positive semi-definite in float32 (Kailath, Sayed & Hassibi 2000, ch. 12). With constant matrices and
    nothing missing, covariances come to rest and means are walked side by side (`ssm.schedules.SideBySide`).

    EM fits all that is constant in time and not frozen, in closed form; where single entries are frozen
    (`ssm.fit(..., frozen={"transition_matrix": mask})`) or tied, first the coefficients and then the noise, each given
    the other (Holmes 2013). It keeps the range of a singular covariance, so that a component without noise keeps its
    row of the matrix, too; it leaves parameters that vary in time as they are, and beside a noise covariance that does,
    the matrix, bias and input of the same equation. SGD and LBFGS move all of them. With priors (`ssm.RegressionPrior`)
    all of them climb the posterior. `stable`: all eigenvalues of a constant transition matrix stay inside the unit
    circle, for SGD and LBFGS by the way it is stored (Ansley & Kohn 1986), for EM by a shorter step where the M-step
    leaves them, which still rises, but may come to rest on the border before the maximum.

    `diffuse` (D,), True where nothing at all is known of a state of x_1, whose entries of the initial mean and
    covariance are then not read: variance κ → ∞, exactly (Koopman 1997; `ssm.beliefs.diffuse`). Every observed
    component that resolves a diffuse direction adds -½ log 2π - ½ log F_∞ to the evidence, as in Durbin & Koopman 2012,
    section 7.2, and in statsmodels (KFAS leaves the -½ log 2π out), that is log p(y) + (d/2) log κ once d of them are
    resolved. Until then the variance of a state is infinite, its mean stands for nothing, and its draws are NaN. Such a
    model is walked in order, EM leaves the initial entries of diffuse states as they are and needs data that resolve
    them all,
    and there is no draw to begin a simulation.

    `cross_covariance` S (D, N), or (T, D, N): cov(w_t, v_t) of the noise w_t that leads into x_t and the noise v_t of
    the y_t that sees it. Nothing leads into x_1, so v_1 is correlated with nothing. The joint covariance [[Q, S],
    [Sᵀ, R]] must be positive semi-definite (ValueError). Such a model is walked with the state (x_t, v_t), which makes
    it one without correlation, exact for every verb and schedule, at the cost of D + N states: beliefs, and states that
    are drawn, have D + N entries, the state first and the noise of the observation behind it. SGD and LBFGS learn S and
    keep the joint covariance what it is, since Q^½, A and B of S = Q^½ Aᵀ and R = A Aᵀ + B Bᵀ are stored (in `frozen`
    "transition_covariance", "cross_covariance", "emission_covariance"); EM has no closed form (TypeError).
    The other textbook convention, x_{t+1} = F x_t + w_t with cov(w_t, v_t) = S, as in the innovations form, is this
    model with the state (x_{t+1}, x_t): transition matrix [[F, 0], [I, 0]] and covariance [[Q, 0], [0, 0]], emission
    matrix [0, H], cross_covariance [[S], [0]], the start of x_1 with zeros behind it, and one missing observation put
    before the first.
    """

    holds_entries: ClassVar[bool] = True

    def offers(self, protocol: type) -> bool:
        """No expectation where noises are correlated."""
        return super().offers(protocol) and not (protocol is AbstractExpectation and self._cross_covariance is not None)

    def log_prior(self) -> Scalar:
        """log p(parameters) up to a constant; 0 without priors."""
        return m_step.log_prior(self)

    def innovations(self, steps: Step, predicted: Belief) -> Float[Array, "T N"]:
        """See `AbstractDisturbed`."""
        return noises.innovations(self, steps, predicted)

    def disturbances(self, steps: Step, predicted: Belief, schedule: Any) -> tuple[Array, Array]:
        """See `AbstractDisturbed`."""
        return noises.disturbances(self, steps, predicted, schedule)

    def statistics(self, steps: Step, predicted: Belief, filtered: Belief, schedule: Any) -> Moments:
        """The walk back of the gradient, and the second moments of the smoothed states."""
        prepared = self.prepare(steps)
        slopes, seen, after = self.walked_back(prepared, predicted, filtered, schedule)
        if isinstance(filtered, DiffuseGaussian):
            smoothed, start, exact = (
                adjoint_smoothing.smoothed(self, prepared, predicted, filtered, schedule),
                None,
                None,
            )
        else:
            start, beliefs = self.initial_mean, (predicted, filtered)
            smoothed, exact = adjoint_smoothing.from_adjoints(self, prepared, *beliefs, seen, after, schedule)
        means, covariances = smoothed.mean, smoothed.covariance
        states = moments.states(steps, self.event_shape[0], means, covariances, start, exact)
        return moments.moments(self, steps.u, slopes, states)

    def expected_log_prob(self, steps: Step, statistics: Moments) -> Scalar:
        """Q; -inf where a singular noise cannot make what was expected; TypeError if parameters vary in time."""
        return m_step.expected_log_prob(self, statistics)

    def maximise(self, statistics: Moments, steps: Step, frozen: frozenset[str] = frozenset()) -> "LinearGaussian":
        """Least squares; what varies in time stays as it is, and where a noise does, the coefficients beside it."""
        return m_step.maximise(self, statistics, frozen)

    def sums(self, statistics: Moments, steps: Step) -> Moments:
        """The statistics of all sequences together."""
        return moments.around(self, moments.total(statistics))

    def fitted(self, sums: Moments, frozen: frozenset[str] = frozenset()) -> "LinearGaussian":
        """As `maximise`."""
        return m_step.maximise(self, sums, frozen)

    @classmethod
    def from_data(
        cls,
        num_dims: int,
        ys: Float[Array, "*B T N"],
        inputs: Float[Array, "*B T U"] | None = None,
        lags: int | None = None,
    ) -> "LinearGaussian":
        """A model of D = `num_dims` states from one sequence or a batch by subspace identification: a start for a fit.

        States are what `lags` observations (and inputs) past say of as many to come, beyond what inputs to come say:
        their D largest canonical correlations, in balanced coordinates (Van Overschee & De Moor 1996, chapters 3 and 4;
        Katayama 2005, chapter 8); matrices follow by least squares. Noises are those of states of unit variance, as if
        the noises of the states and of what is seen were uncorrelated. `lags`: 10 by default, fewer where the data are
        short. With an `emission_bias`, and a start at N(0, I). Raises ValueError for NaN and for data too short.
        """
        found = identified(num_dims, ys, inputs, lags)
        size, dtype = found.transition_matrix.shape[0], found.emission_bias.dtype
        start: dict[str, Any] = {
            "initial_mean": jnp.zeros(size, dtype),
            "initial_covariance": jnp.eye(size, dtype=dtype),
        }
        return cls(**start, **found._asdict())

    def restart(self, key: Key, steps: Step) -> "LinearGaussian":
        """See `m_step.restart`."""
        return m_step.restart(self, key, steps)
