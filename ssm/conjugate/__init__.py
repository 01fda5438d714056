"""Conjugate models of one segment: what `ssm.ChangePoint` predicts observations with.

Imports `ssm.parameters`, `ssm.distributions`, `ssm.numeric`.
"""

from ssm.conjugate.base import AbstractConjugate as AbstractConjugate
from ssm.conjugate.discrete import BetaBernoulli as BetaBernoulli
from ssm.conjugate.discrete import DirichletCategorical as DirichletCategorical
from ssm.conjugate.discrete import GammaPoisson as GammaPoisson
from ssm.conjugate.multivariate_normal import NormalInverseWishart as NormalInverseWishart
from ssm.conjugate.normal import NormalInverseGamma as NormalInverseGamma
from ssm.conjugate.normal import NormalMean as NormalMean
