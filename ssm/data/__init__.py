"""The one boundary: what users pass is checked here, and becomes steps.

Inside the library every array is finite where it counts, flags are booleans and shapes agree. Imports
`ssm.recursion`, `ssm.schedules`, `ssm.numeric`. Hands on what verbs call.
"""

from ssm.data.models import check_key as check_key
from ssm.data.models import check_recursion as check_recursion
from ssm.data.models import needs_key as needs_key
from ssm.data.observations import Sequences as Sequences
from ssm.data.observations import each_key as each_key
from ssm.data.observations import each_pair as each_pair
from ssm.data.observations import future_observations as future_observations
from ssm.data.observations import future_steps as future_steps
from ssm.data.observations import observe as observe
from ssm.data.observations import over_sequences as over_sequences
from ssm.data.packing import Packed as Packed
from ssm.data.packing import pack as pack
from ssm.data.padding import pad as pad
