"""Learning: EM and gradient descent from the same expected statistics.

Imports `ssm.inference`, `ssm.passes` and what is below.
"""

from ssm.fitting.em import EM as EM
from ssm.fitting.fit import fit as fit
from ssm.fitting.lbfgs import LBFGS as LBFGS
from ssm.fitting.result import Fit as Fit
from ssm.fitting.sgd import SGD as SGD
from ssm.fitting.stochastic_em import StochasticEM as StochasticEM
