"""Heads: p(y_t | h_t), from what a recurrent cell shows.

Imports `ssm.parameters`, `ssm.distributions`, `ssm.numeric`.
"""

from ssm.heads.base import AbstractHead as AbstractHead
from ssm.heads.bernoulli import Bernoulli as Bernoulli
from ssm.heads.categorical import Categorical as Categorical
from ssm.heads.normal import Normal as Normal
