"""The only door to distrax: distributions made at the edge, for one instant, from plain arrays.

Make one where it is used, also inside `vmap`; never return one from a `scan` or `vmap`.

Imports `ssm.numeric`, `ssm.shapes`.
"""

from ssm.distributions.angles import CircularMixture as CircularMixture
from ssm.distributions.angles import is_angle as is_angle
from ssm.distributions.angles import resultant_length as resultant_length
from ssm.distributions.angles import von_mises as von_mises
from ssm.distributions.counts import binomial as binomial
from ssm.distributions.counts import log_choose as log_choose
from ssm.distributions.counts import log_negative_binomial as log_negative_binomial
from ssm.distributions.counts import multinomial as multinomial
from ssm.distributions.counts import negative_binomial as negative_binomial
from ssm.distributions.counts import partial_multinomial as partial_multinomial
from ssm.distributions.counts import poisson as poisson
from ssm.distributions.families import Distribution as Distribution
from ssm.distributions.families import bernoulli as bernoulli
from ssm.distributions.families import categorical as categorical
from ssm.distributions.families import categorical_logits as categorical_logits
from ssm.distributions.families import multivariate_normal as multivariate_normal
from ssm.distributions.families import multivariate_normal_mixture as multivariate_normal_mixture
from ssm.distributions.families import normal as normal
from ssm.distributions.families import normal_mixture as normal_mixture
from ssm.distributions.families import num_symbols as num_symbols
from ssm.distributions.families import one_event as one_event
from ssm.distributions.heavy_tails import log_multivariate_t as log_multivariate_t
from ssm.distributions.heavy_tails import log_student_t as log_student_t
from ssm.distributions.heavy_tails import multivariate_student_t as multivariate_student_t
from ssm.distributions.heavy_tails import squared_distance as squared_distance
from ssm.distributions.heavy_tails import student_t as student_t
from ssm.distributions.marginals import is_known as is_known
from ssm.distributions.marginals import log_normal_density as log_normal_density
from ssm.distributions.marginals import marginal_log_prob as marginal_log_prob
from ssm.distributions.mixtures import WeightedMixture as WeightedMixture
from ssm.distributions.positive import exponential as exponential
from ssm.distributions.positive import gamma as gamma
from ssm.distributions.products import MixtureOfParts as MixtureOfParts
from ssm.distributions.products import Parts as Parts
from ssm.distributions.products import as_symbols as as_symbols
from ssm.distributions.products import columns as columns
from ssm.distributions.products import width as width
from ssm.distributions.quantiles import quantile as quantile
from ssm.distributions.saddle_points import keeps_digits as keeps_digits
from ssm.distributions.saddle_points import log_binomial as log_binomial
from ssm.distributions.saddle_points import log_poisson as log_poisson
from ssm.distributions.supports import held as held
from ssm.distributions.supports import held_log_prob as held_log_prob
from ssm.distributions.supports import moves_support as moves_support
from ssm.distributions.tails import Tails as Tails
from ssm.distributions.tails import tails as tails
