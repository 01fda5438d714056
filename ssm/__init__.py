"""onescan: one recursion for RNNs, hidden Markov models, Kalman filters and stochastic RNNs."""

from ssm import emissions as emissions
from ssm import schedules as schedules
from ssm.data import pad as pad
from ssm.decoding import decode as decode
from ssm.fitting import EM as EM
from ssm.fitting import SGD as SGD
from ssm.fitting import Fit as Fit
from ssm.fitting import fit as fit
from ssm.filtering import Filtered as Filtered
from ssm.filtering import filter as filter
from ssm.filtering import init as init
from ssm.filtering import log_prob as log_prob
from ssm.filtering import step as step
from ssm.forecasting import forecast as forecast
from ssm.recursions.hmm import HMM as HMM
from ssm.recursions.linear_gaussian import LinearGaussian as LinearGaussian
from ssm.recursions.particle import ParticleFilter as ParticleFilter
from ssm.recursions.state_space import StateSpaceModel as StateSpaceModel
from ssm.simulating import simulate as simulate
from ssm.smoothing import Smoothed as Smoothed
from ssm.smoothing import posterior_sample as posterior_sample
from ssm.smoothing import smooth as smooth
from ssm.statistics import Q as Q
from ssm.statistics import expected_statistics as expected_statistics
