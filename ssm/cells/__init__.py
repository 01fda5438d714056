"""Recurrent cells: h_t = f(h_{t-1}, x_t).

Imports `ssm.parameters`, `ssm.numeric`.
"""

from ssm.cells.base import AbstractCell as AbstractCell
from ssm.cells.gru import GRU as GRU
from ssm.cells.lstm import LSTM as LSTM
from ssm.cells.lstm import LSTMState as LSTMState
from ssm.cells.stack import Stack as Stack
from ssm.cells.tanh import Tanh as Tanh
from ssm.cells.wrapped import Wrapped as Wrapped
from ssm.cells.wrapped import as_cell as as_cell
