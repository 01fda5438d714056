"""A linear-Gaussian model walked in order, and back by the adjoint."""

from typing import Any, ClassVar

from ssm.beliefs.diffuse import DiffuseGaussian
from ssm.numeric.roots import SMALL_ROOT
from ssm.passes.base import AbstractPass, Walked
from ssm.passes.in_order import InOrder
from ssm.recursions.gaussian.adjoint import sampling, smoothing
from ssm.schedules import AbstractSchedule, Sequential
from ssm.shapes import Key


class KalmanInOrder(InOrder):
    """With a diffuse start, draws and lags are those of reversed kernels."""

    # Only where nothing is missing do covariances come to rest, and are the same for all sequences.
    wants_no_flags: ClassVar[bool] = True

    @classmethod
    def order(cls, model: Any, schedule: AbstractSchedule) -> AbstractSchedule:
        """As `python -m benchmarks kalman_missing_vs_peers` shows, where no step calls LAPACK."""
        small = model.diffuse is None and max(model.num_dims, *model.event_shape) <= SMALL_ROOT
        return Sequential(in_small_blocks=True) if small and schedule == Sequential() else schedule

    @staticmethod
    def smooth(walked: Walked) -> Any:
        """See `AbstractPass`."""
        return smoothing.smoothed(walked.model, walked.prepared, walked.predicted, walked.filtered, walked.schedule)

    @staticmethod
    def lag(walked: Walked, lag: int) -> Any:
        """See `AbstractPass`."""
        by_kernels = lambda: AbstractPass.lag(walked, lag)
        if isinstance(walked.filtered, DiffuseGaussian):
            return by_kernels()
        return smoothing.lagged(walked.model, walked.prepared, walked.predicted, walked.filtered, lag, by_kernels)

    @staticmethod
    def draw(walked: Walked, key: Key, num_samples: int) -> Any:
        """See `AbstractPass`."""
        if isinstance(walked.filtered, DiffuseGaussian):
            return AbstractPass.draw(walked, key, num_samples)
        return sampling.draws(walked.model, walked.prepared, walked.predicted, walked.filtered, key, num_samples)
