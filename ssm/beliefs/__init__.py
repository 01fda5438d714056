"""What is known about the present: probabilities of states, normals, diffuse ones, particles; and their likelihoods.

Imports `ssm.distributions`, `ssm.numeric`. Hands on all beliefs.
"""

from ssm.beliefs.base import AbstractInner as AbstractInner
from ssm.beliefs.base import Bracketed as Bracketed
from ssm.beliefs.base import Categorical as Categorical
from ssm.beliefs.base import Gaussian as Gaussian
from ssm.beliefs.base import LogCategorical as LogCategorical
from ssm.beliefs.base import Particles as Particles
from ssm.beliefs.base import Point as Point
from ssm.beliefs.base import handed_out as handed_out
from ssm.beliefs.base import least_lost as least_lost
from ssm.beliefs.diffuse import DiffuseGaussian as DiffuseGaussian
from ssm.beliefs.likelihoods import LogLikelihood as LogLikelihood
from ssm.beliefs.likelihoods import ScaledLikelihood as ScaledLikelihood
