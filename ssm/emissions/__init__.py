"""p(y | x, u) for discrete states."""

from ssm.emissions.base import AbstractEmission as AbstractEmission
from ssm.emissions.bernoulli import Bernoulli as Bernoulli
from ssm.emissions.bernoulli import Binomial as Binomial
from ssm.emissions.categorical import Categorical as Categorical
from ssm.emissions.gamma import Exponential as Exponential
from ssm.emissions.gamma import Gamma as Gamma
from ssm.emissions.multinomial import Multinomial as Multinomial
from ssm.emissions.multivariate_normal import MultivariateNormal as MultivariateNormal
from ssm.emissions.negative_binomial import NegativeBinomial as NegativeBinomial
from ssm.emissions.normal import Normal as Normal
from ssm.emissions.poisson import Poisson as Poisson
from ssm.emissions.von_mises import VonMises as VonMises
