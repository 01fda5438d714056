"""p(y | x, u) for discrete states."""

from ssm.emissions.base import AbstractEmission as AbstractEmission
from ssm.emissions.categorical import Categorical as Categorical
from ssm.emissions.multivariate_normal import MultivariateNormal as MultivariateNormal
from ssm.emissions.normal import Normal as Normal
