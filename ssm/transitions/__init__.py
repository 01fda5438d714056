"""p(x_t | x_{t-1}, u) over discrete states."""

from ssm.transitions.base import AbstractTransition as AbstractTransition
from ssm.transitions.factored import LowRank as LowRank
from ssm.transitions.factored import Sparse as Sparse
from ssm.transitions.homogeneous import Homogeneous as Homogeneous
from ssm.transitions.varying import Driven as Driven
from ssm.transitions.varying import TimeVarying as TimeVarying
