"""How long a mode lasts: distributions over 1 .. D steps.

Imports `ssm.parameters`, `ssm.distributions`, `ssm.numeric`.
"""

from ssm.durations.base import AbstractDurations as AbstractDurations
from ssm.durations.base import Tabulated as Tabulated
from ssm.durations.families import Categorical as Categorical
from ssm.durations.families import Geometric as Geometric
from ssm.durations.families import NegativeBinomial as NegativeBinomial
from ssm.durations.families import Poisson as Poisson
