"""p(x_t | x_{t-1}, u) over discrete states.

Imports `ssm.durations`, `ssm.parameters`, `ssm.numeric`.
"""

from ssm.transitions.base import AbstractTransition as AbstractTransition
from ssm.transitions.coupled import Coupled as Coupled
from ssm.transitions.durations import Durations as Durations
from ssm.transitions.durations import Segment as Segment
from ssm.transitions.factored import LowRank as LowRank
from ssm.transitions.factored import Sparse as Sparse
from ssm.transitions.factorial import Factorial as Factorial
from ssm.transitions.homogeneous import Homogeneous as Homogeneous
from ssm.transitions.recent import Recent as Recent
from ssm.transitions.varying import Driven as Driven
from ssm.transitions.varying import TimeVarying as TimeVarying
