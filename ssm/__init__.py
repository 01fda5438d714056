"""onescan: one recursion for RNNs, hidden Markov models, Kalman filters and stochastic RNNs."""

import importlib
import types as _types
import typing as _typing

from ssm import cells as cells
from ssm import conjugate as conjugate
from ssm import durations as durations
from ssm import emissions as emissions
from ssm import heads as heads
from ssm import schedules as schedules
from ssm import transitions as transitions
from ssm.data import pad as pad
from ssm.data.packing import Packed as Packed
from ssm.data.packing import pack as pack
from ssm.diagnostics.auxiliary_residuals import AuxiliaryResiduals as AuxiliaryResiduals
from ssm.diagnostics.auxiliary_residuals import auxiliary_residuals as auxiliary_residuals
from ssm.diagnostics.auxiliary_residuals import innovations as innovations
from ssm.diagnostics.predictive_checks import SimulatedCheck as SimulatedCheck
from ssm.diagnostics.predictive_checks import simulated_check as simulated_check
from ssm.diagnostics.residual_tests import Diagnosis as Diagnosis
from ssm.diagnostics.residual_tests import diagnose as diagnose
from ssm.diagnostics.residuals import Residuals as Residuals
from ssm.diagnostics.residuals import residuals as residuals
from ssm.fitting import EM as EM
from ssm.fitting import LBFGS as LBFGS
from ssm.fitting import SGD as SGD
from ssm.fitting import Fit as Fit
from ssm.fitting import StochasticEM as StochasticEM
from ssm.fitting import fit as fit
from ssm.inference.decoding import decode as decode
from ssm.inference.expectations import Q as Q
from ssm.inference.expectations import expected_statistics as expected_statistics
from ssm.inference.filtering import Filtered as Filtered
from ssm.inference.filtering import filter as filter
from ssm.inference.filtering import init as init
from ssm.inference.filtering import log_prob as log_prob
from ssm.inference.filtering import step as step
from ssm.inference.fixed_lag import FixedLag as FixedLag
from ssm.inference.fixed_lag import fixed_lag as fixed_lag
from ssm.inference.fixed_lag import fixed_lag_smooth as fixed_lag_smooth
from ssm.inference.forecasting import forecast as forecast
from ssm.inference.list_decoding import decode_best as decode_best
from ssm.inference.pairs import smooth_pairs as smooth_pairs
from ssm.inference.simulating import simulate as simulate
from ssm.inference.smoothing import Smoothed as Smoothed
from ssm.inference.smoothing import posterior_sample as posterior_sample
from ssm.inference.smoothing import smooth as smooth
from ssm.parameters.freezing import num_parameters as num_parameters
from ssm.parameters.structured_covariances import BlockDiagonal as BlockDiagonal
from ssm.parameters.structured_covariances import Diagonal as Diagonal
from ssm.parameters.structured_covariances import Spherical as Spherical
from ssm.parameters.tied import Tied as Tied
from ssm.recursions.changepoints.changepoint import ChangePoint as ChangePoint
from ssm.recursions.gaussian.linear_gaussian import LinearGaussian as LinearGaussian
from ssm.recursions.gaussian.regression.prior import RegressionPrior as RegressionPrior
from ssm.recursions.markov.autoregressive import ARHMM as ARHMM
from ssm.recursions.markov.hmm import HMM as HMM
from ssm.recursions.markov.structured import HSMM as HSMM
from ssm.recursions.markov.structured import FactorialHMM as FactorialHMM
from ssm.recursions.networks.rnn import RNN as RNN
from ssm.recursions.particles.particle_filter import ParticleFilter as ParticleFilter
from ssm.recursions.state_space import StateSpaceModel as StateSpaceModel
from ssm.recursions.variational.vrnn import VRNN as VRNN
from ssm.selection.aligning import align as align
from ssm.selection.comparing import compare as compare
from ssm.selection.selecting import Selection as Selection
from ssm.selection.selecting import select as select
from ssm.selection.uncertainty import parameter_covariance as parameter_covariance
from ssm.selection.uncertainty import standard_errors as standard_errors

if _typing.TYPE_CHECKING:
    from ssm import datasets as datasets
    from ssm import plotting as plotting

_ON_DEMAND = ("datasets", "plotting")  # what brings other packages with it


def __getattr__(name: str) -> _types.ModuleType:
    """Modules that are imported when they are used."""
    if name not in _ON_DEMAND:
        raise AttributeError(f"module 'ssm' has no attribute {name!r}")
    return importlib.import_module(f"ssm.{name}")


def __dir__() -> list[str]:
    """With those."""
    return sorted({*globals(), *_ON_DEMAND})
