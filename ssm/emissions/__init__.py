"""p(y | x, u) for discrete states."""

from ssm.emissions.base import AbstractEmission as AbstractEmission
from ssm.emissions.bernoulli import Bernoulli as Bernoulli
from ssm.emissions.bernoulli import Binomial as Binomial
from ssm.emissions.categorical import Categorical as Categorical
from ssm.emissions.factor_normal import FactorNormal as FactorNormal
from ssm.emissions.gamma import Exponential as Exponential
from ssm.emissions.gamma import Gamma as Gamma
from ssm.emissions.mixture import Mixture as Mixture
from ssm.emissions.multinomial import Multinomial as Multinomial
from ssm.emissions.multivariate_normal import MultivariateNormal as MultivariateNormal
from ssm.emissions.multivariate_student_t import MultivariateStudentT as MultivariateStudentT
from ssm.emissions.negative_binomial import NegativeBinomial as NegativeBinomial
from ssm.emissions.noisy_normal import NoisyNormal as NoisyNormal
from ssm.emissions.normal import Normal as Normal
from ssm.emissions.poisson import Poisson as Poisson
from ssm.emissions.product import Product as Product
from ssm.emissions.shared_scale_normal import SharedScaleNormal as SharedScaleNormal
from ssm.emissions.student_t import StudentT as StudentT
from ssm.emissions.tied_multivariate_normal import TiedMultivariateNormal as TiedMultivariateNormal
from ssm.emissions.von_mises import VonMises as VonMises
