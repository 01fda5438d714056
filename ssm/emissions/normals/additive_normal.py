"""Chains whose effects add up: p(y | x) = N(y; Σ_m loc[m][x^m], scale²)."""

from collections.abc import Sequence
from functools import reduce
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ssm.distributions import Distribution
from ssm.emissions.common.base import AbstractEmission
from ssm.emissions.common.floors import bounded_scale, checked_minimum, smallest_scales
from ssm.emissions.common.seeds import average, starting_scale
from ssm.emissions.normals.scatter import Moments
from ssm.emissions.normals.shared_scale_normal import SharedScaleNormal
from ssm.numeric import checks
from ssm.numeric.linalg import multiply
from ssm.numeric.logspace import ratio
from ssm.numeric.ranks import shared_constants
from ssm.numeric.semidefinite import solve_semidefinite
from ssm.parameters import AbstractOverparametrised, Positive, constrain, value
from ssm.shapes import Array, Bool, Float, Int, Key, PyTree


@final
class AdditiveNormal(AbstractEmission, AbstractOverparametrised):
    """The observation of a factorial chain (Ghahramani & Jordan 1997), with independent components.

    Shapes: `loc[m]` (K_m,) for scalars or (K_m, N), one for each chain; `scale` () or (N,), the same in all states.
    States are joint, K = K_1 .. K_M of them, the last chain's running fastest. A constant may be moved from one chain's
    `loc` to another's: only the sums are determined. M-step: weighted least squares of y on which state each chain is
    in, moved no further than the data ask, and `scale`² the mean of the squares that are left, at least
    `minimum_scale`².
    """

    loc: tuple[Float[Array, "..."], ...]
    _scale: Positive | Float[Array, "*event"]
    minimum_scale: float | None = eqx.field(static=True)

    def __init__(self, loc: Sequence[Array], scale: Array, minimum_scale: float | None = None):
        if len(loc) == 0:
            raise ValueError("loc: expected an array (K_m, N) for each chain, got none")
        scale = checks.positive("scale", scale, () if np.ndim(scale) == 0 else ("N",))
        event = scale.shape
        self.loc = tuple(
            checks.real(f"loc[{m}]", each, (f"K_{m}", *event)).astype(scale.dtype) for m, each in enumerate(loc)
        )
        self._scale = Positive.of(scale)
        self.minimum_scale = checked_minimum(minimum_scale)

    def num_redundant(self, entries: Any) -> int:
        """The constants that may be moved from one chain to another."""
        return shared_constants(list(entries.loc))

    @property
    def scale(self) -> Float[Array, "*event"]:
        """Standard deviations."""
        return value(self._scale)

    @property
    def sizes(self) -> tuple[int, ...]:
        """K_1 .. K_M."""
        return tuple(each.shape[0] for each in self.loc)

    @property
    def num_states(self) -> int:
        """K = K_1 .. K_M."""
        return int(np.prod(self.sizes))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """() or (N,)."""
        return self.scale.shape

    @property
    def joint_loc(self) -> Float[Array, "K *event"]:
        """The mean in every joint state."""
        add = lambda a, b: (a[:, None] + b).reshape(-1, *self.event_shape)
        return reduce(add, self.loc)

    @property
    def _joint(self) -> SharedScaleNormal:
        return constrain(SharedScaleNormal(self.joint_loc, self.scale[None], self.minimum_scale))

    def log_likelihoods(
        self, ys: Float[Array, "T *event"], us: PyTree, observed: Bool[Array, "T *parts"] | None = None
    ) -> Float[Array, "T K"]:
        """As normals with the joint means."""
        return self._joint.log_likelihoods(ys, us, observed)

    def given(self, state: Int[Array, ""], u: PyTree) -> Distribution:
        """The normal of one joint state."""
        return self._joint.given(state, u)

    def mixture(self, probs: Float[Array, "K"], u: PyTree) -> Distribution:
        """The mixture over joint states."""
        return self._joint.mixture(probs, u)

    def sums(
        self,
        weights: Float[Array, "M K"],
        ys: Float[Array, "M *event"],
        us: PyTree,
        observed: Bool[Array, "M *parts"] | None,
    ) -> Moments:
        """Moments of every joint state: the pair weights of chains are sums of their counts."""
        return self._joint.sums(weights, ys, us, observed)

    def fitted(self, sums: Moments, frozen: frozenset[str] = frozenset()) -> "AdditiveNormal":
        """Least squares, component by component."""
        held = [m for m in range(len(self.loc)) if "loc" in frozen or f"loc.{m}" in frozen]
        moved = self.loc if len(held) == len(self.loc) else self._regressed(sums, held)
        new = AdditiveNormal(moved, self.scale, self.minimum_scale)
        joint = new.joint_loc
        variance = ratio(sums.around(joint), sums.count)
        smallest = smallest_scales(sums.count, joint, variance)
        scale = bounded_scale(sums.count, variance, smallest, self.scale[None], self.minimum_scale)[0]
        return AdditiveNormal(moved, self.scale if "scale" in frozen else scale, self.minimum_scale)

    def _regressed(self, sums: Moments, held: list[int]) -> list[Array]:
        """`loc`, with the shortest change that gives the least squares; that of the chains in `held` is zero."""
        count, left = (array.reshape(self.num_states, -1) for array in (sums.count, sums.mean - self.joint_loc))
        free = [m for m in range(len(self.sizes)) if m not in held]
        blocks = [self._is_in(m, count.dtype) for m in free]
        design = jnp.concatenate(blocks, axis=1)  # (K, Σ K_m): which state each chain is in

        def component(count: Float[Array, "K"], left: Float[Array, "K"]) -> Float[Array, "_"]:
            weighted = (count[:, None] * design).T
            return solve_semidefinite(multiply(weighted, design), multiply(weighted, left))

        change = jax.vmap(component, (1, 1), 1)(count, left)
        cuts = np.cumsum([self.sizes[m] for m in free])[:-1].tolist()
        moves = dict(zip(free, jnp.split(change, cuts), strict=True))
        return [each + moves[m].reshape(each.shape) if m in moves else each for m, each in enumerate(self.loc)]

    def _is_in(self, chain: int, dtype: jnp.dtype) -> Float[Array, "K _"]:
        """One in the column of the state that the chain is in."""
        states = np.indices(self.sizes)[chain].reshape(-1)
        return jax.nn.one_hot(states, self.sizes[chain], dtype=dtype)

    def permuted(self, order: np.ndarray) -> "AdditiveNormal":
        """TypeError: states are renamed chain by chain, not jointly."""
        raise TypeError("emission: the joint states of an AdditiveNormal cannot be renamed one by one")

    def restart(
        self, key: Key, ys: Float[Array, "M *event"], us: PyTree, observed: Bool[Array, "M"] | None
    ) -> "AdditiveNormal":
        """Effects drawn so that together they spread as the data do, around the data's mean."""
        there = jnp.ones(len(ys), bool) if observed is None else observed
        spread = starting_scale(ys, there)
        keys = jax.random.split(key, len(self.loc))
        share = spread / len(self.loc) ** 0.5
        effects = [share * jax.random.normal(k, each.shape, each.dtype) for k, each in zip(keys, self.loc, strict=True)]
        return AdditiveNormal([effects[0] + average(ys, there), *effects[1:]], spread, self.minimum_scale)
