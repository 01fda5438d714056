"""The words of the library: letters, axes and the time convention, said once.

Letters
    T   time steps            K   discrete states        u   inputs, known before y
    B   sequences             D   state dimensions       y   observations
    N   observed dimensions   C   classes or symbols     x   latent state,  h  recurrent state
    U   input dimensions      P   particles

Time
    The first observation is at the prior's time:  x_1 ~ initial,  y_t | x_t, u_t,  x_t | x_{t-1}, u_t.
    u_t drives the transition *into* t and the emission *at* t.  Array index 0 holds t = 1, so a parameter
    with a leading time axis is indexed by the step that it leads into, and its entry 0 moves nothing.

Axes
    Models are unbatched. Arrays are (T, ...) for one sequence and (B, T, ...) for several.

Missing, padded, packed
    observed = False    time passes, nothing is seen: the belief is predicted and not corrected
    padding  = True     not even time passes: the belief stays as it was
    first    = True     a new sequence starts here: the belief is the initial one
"""

from typing import TypeAlias

from jaxtyping import Array, Bool, Float, Int, Integer, PRNGKeyArray, PyTree, Shaped

Scalar: TypeAlias = Float[Array, ""]
Flag: TypeAlias = Bool[Array, ""]
Count: TypeAlias = Int[Array, ""]
Probabilities: TypeAlias = Float[Array, "*batch K"]
Vector: TypeAlias = Float[Array, "D"]
Matrix: TypeAlias = Float[Array, "D D"]
Key: TypeAlias = PRNGKeyArray
Keys: TypeAlias = Shaped[Array, "..."]  # one, or (B,) for a batch

__all__ = [
    "Array",
    "Bool",
    "Count",
    "Flag",
    "Float",
    "Int",
    "Integer",
    "Key",
    "Keys",
    "Matrix",
    "Probabilities",
    "PyTree",
    "Scalar",
    "Shaped",
    "Vector",
]
