"""What a model stores under its values, which of it a fit moves, and how it is exchanged by name.

Imports `ssm.numeric` and `ssm.shapes`. Hands on the parameters and `value`, `plain`, `constrain`.
"""

from ssm.parameters.base import AbstractOverparametrised as AbstractOverparametrised
from ssm.parameters.base import AbstractParameter as AbstractParameter
from ssm.parameters.base import AbstractPartlyRead as AbstractPartlyRead
from ssm.parameters.base import AbstractRewritten as AbstractRewritten
from ssm.parameters.base import Constant as Constant
from ssm.parameters.base import constrain as constrain
from ssm.parameters.base import numbered as numbered
from ssm.parameters.base import plain as plain
from ssm.parameters.base import value as value
from ssm.parameters.covariances import AbstractCovariance as AbstractCovariance
from ssm.parameters.covariances import Covariance as Covariance
from ssm.parameters.positive import Positive as Positive
from ssm.parameters.simplex import IMPOSSIBLE as IMPOSSIBLE
from ssm.parameters.simplex import VANISHED as VANISHED
from ssm.parameters.simplex import Simplex as Simplex
from ssm.parameters.simplex import least as least
from ssm.parameters.stable import Stable as Stable
from ssm.parameters.structured_covariances import BlockDiagonal as BlockDiagonal
from ssm.parameters.structured_covariances import Diagonal as Diagonal
from ssm.parameters.structured_covariances import Spherical as Spherical
from ssm.parameters.tied import Tied as Tied
