"""p(y | x, u) for discrete states.

Imports its own rooms, which import `common` and what is below.
"""

from ssm.emissions.combined.distribution import Distribution as Distribution
from ssm.emissions.combined.labelled import Labelled as Labelled
from ssm.emissions.combined.mixture import Mixture as Mixture
from ssm.emissions.combined.product import Product as Product
from ssm.emissions.combined.shared import Shared as Shared
from ssm.emissions.combined.tied import Tied as Tied
from ssm.emissions.common.base import AbstractEmission as AbstractEmission
from ssm.emissions.counts.bernoulli import Bernoulli as Bernoulli
from ssm.emissions.counts.bernoulli import Binomial as Binomial
from ssm.emissions.counts.categorical import Categorical as Categorical
from ssm.emissions.counts.gamma import Exponential as Exponential
from ssm.emissions.counts.gamma import Gamma as Gamma
from ssm.emissions.counts.multinomial import Multinomial as Multinomial
from ssm.emissions.counts.negative_binomial import NegativeBinomial as NegativeBinomial
from ssm.emissions.counts.poisson import Poisson as Poisson
from ssm.emissions.counts.von_mises import VonMises as VonMises
from ssm.emissions.normals.additive_normal import AdditiveNormal as AdditiveNormal
from ssm.emissions.normals.factor_normal import FactorNormal as FactorNormal
from ssm.emissions.normals.multivariate_normal import MultivariateNormal as MultivariateNormal
from ssm.emissions.normals.multivariate_student_t import MultivariateStudentT as MultivariateStudentT
from ssm.emissions.normals.noisy_normal import NoisyNormal as NoisyNormal
from ssm.emissions.normals.normal import Normal as Normal
from ssm.emissions.normals.shared_scale_normal import SharedScaleNormal as SharedScaleNormal
from ssm.emissions.normals.student_t import StudentT as StudentT
from ssm.emissions.normals.tied_multivariate_normal import TiedMultivariateNormal as TiedMultivariateNormal
from ssm.emissions.regressions.categorical_regression import CategoricalRegression as CategoricalRegression
from ssm.emissions.regressions.linear_regression import LinearRegression as LinearRegression
from ssm.emissions.regressions.logistic_regression import LogisticRegression as LogisticRegression
from ssm.emissions.regressions.multivariate_linear_regression import (
    MultivariateLinearRegression as MultivariateLinearRegression,
)
from ssm.emissions.regressions.poisson_regression import PoissonRegression as PoissonRegression
