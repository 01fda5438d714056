"""Ways to walk through time.

Imports `ssm.recursion`, `ssm.maps`, `ssm.beliefs`, `ssm.numeric`.
"""

from ssm.schedules.associative import Associative as Associative
from ssm.schedules.auto import resolve as resolve
from ssm.schedules.base import AbstractSchedule as AbstractSchedule
from ssm.schedules.blocked import Blocked as Blocked
from ssm.schedules.fixed_point import FixedPoint as FixedPoint
from ssm.schedules.sequential import Sequential as Sequential
from ssm.schedules.side_by_side import SideBySide as SideBySide
from ssm.schedules.side_by_side import under_vmap as under_vmap
from ssm.schedules.truncated import Truncated as Truncated
