"""Functions between beliefs, as data: what schedules compose.

Imports `ssm.beliefs`, `ssm.numeric`.
"""

from ssm.maps.affine import AffineMap as AffineMap
from ssm.maps.affine import DiagonalAffineMap as DiagonalAffineMap
from ssm.maps.base import AbstractKernel as AbstractKernel
from ssm.maps.base import AbstractMap as AbstractMap
from ssm.maps.constant import ConstantKernel as ConstantKernel
from ssm.maps.gaussian import GaussianKernel as GaussianKernel
from ssm.maps.gaussian import GaussianMap as GaussianMap
from ssm.maps.markov import MarkovMap as MarkovMap
