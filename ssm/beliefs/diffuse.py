"""A normal distribution that is flat in some directions, and what an observation leaves of it, exactly.

    x = mean + loading δ + root ε,        ε ~ N(0, I),        δ ~ N(0, κ I) with κ → ∞

An observation that sees δ determines one direction of it and says nothing else; its density, times √κ in the limit,
is (2π)^-½ / |what it sees of δ|. This is the exact initial Kalman filter (Koopman 1997; Durbin & Koopman 2012, sections
5.2 and 5.3), one component of the observation after the other, on roots instead of covariances: P_∞ = loading loadingᵀ,
P_* = root rootᵀ.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ssm.distributions import log_normal_density
from ssm.numeric.linalg import multiply, square
from ssm.numeric.roots import solve_lower, triangular_root
from ssm.shapes import Array, Bool, Flag, Float, Key, Scalar


class DiffuseGaussian(eqx.Module):
    """A normal distribution over R^D with infinite variance along the columns of `loading`; zero ones are resolved.

    Where a state is diffuse its variance is infinite, its draws are NaN, and its mean stands for nothing: it is what
    the state would be if all that is not known yet were zero.
    """

    mean: Float[Array, "*batch D"]
    root: Float[Array, "*batch D D"]
    loading: Float[Array, "*batch D d"]

    @property
    def diffuse(self) -> Bool[Array, "*batch D"]:
        """Which states are not known at all yet."""
        return jnp.any(self.loading != 0, axis=-1)

    @property
    def covariance(self) -> Float[Array, "*batch D D"]:
        """root @ rootᵀ, and ±inf where the states share a diffuse direction."""
        scale, vague = _norms(self.loading), square(self.loading)
        shared = jnp.abs(vague) > rounding(vague) * scale[..., :, None] * scale[..., None, :]
        return jnp.where(shared, jnp.sign(vague) * jnp.inf, square(self.root))

    @property
    def known_covariance(self) -> Float[Array, "*batch D D"]:
        """P_* = root @ rootᵀ: finite."""
        return square(self.root)

    @property
    def spread(self) -> Float[Array, "*batch D D"]:
        """The root, with infinite rows for what is diffuse."""
        infinite = jnp.where(jnp.eye(self.root.shape[-1], dtype=bool), jnp.inf, 0).astype(self.root.dtype)
        return jnp.where(self.diffuse[..., None], infinite, self.root)

    def sample(self, key: Key) -> Float[Array, "D"]:
        """One point; NaN in the diffuse states, which have no distribution to draw from."""
        point = self.mean + self.root @ jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return jnp.where(self.diffuse, jnp.nan, point)

    def moved(self, matrix: Float[Array, "M D"], offset: Float[Array, "M"], noise: Array) -> "DiffuseGaussian":
        """The belief about matrix x + offset + noise ε."""
        spread = jnp.concatenate([multiply(matrix, self.root), noise], axis=1)
        mean = multiply(matrix, self.mean) + offset
        return DiffuseGaussian(mean, triangular_root(spread), through(matrix, self.loading))

    def given(
        self, matrix: Float[Array, "N D"], noise: Float[Array, "N N"], residual: Float[Array, "N"]
    ) -> "tuple[DiffuseGaussian, Scalar]":
        """The belief once matrix (x - mean) + noise ε is `residual`, and the log-density of that.

        The latter without -½ log κ for every component that resolves a direction.
        """
        seen = Conditional.of(self, matrix, noise, residual[:, None])
        mean = self.mean + seen.shift[:, 0] + multiply(seen.cross, solve_lower(seen.innovation, seen.residual[:, 0]))
        log_density = log_normal_density(seen.residual[:, 0], seen.innovation) - seen.log_scale
        return DiffuseGaussian(mean, seen.root, seen.loading), log_density


class Conditional(NamedTuple):
    """x given z = matrix (x - mean) + noise ε: what resolves a direction of δ used up, the rest in roots.

    A component of z that was used up is unit noise that reads zero.
    """

    shift: Float[Array, "D M"]  # what the used-up components move the mean of x by
    residual: Float[Array, "N M"]  # what is left of z
    innovation: Float[Array, "N N"]  # its root
    cross: Float[Array, "D N"]
    root: Float[Array, "D D"]
    loading: Float[Array, "D d"]
    log_scale: Scalar  # ½ log det F_∞

    @classmethod
    def of(cls, belief: DiffuseGaussian, matrix: Array, noise: Array, values: Float[Array, "N M"]) -> "Conditional":
        """For M values of z."""
        count, size = matrix.shape[0], belief.mean.shape[0]
        nothing = jnp.zeros((size, noise.shape[1]), noise.dtype)
        roots = jnp.block([[multiply(matrix, belief.root), noise], [belief.root, nothing]])
        loading = jnp.concatenate([through(matrix, belief.loading), belief.loading])
        values = jnp.concatenate([-values, jnp.zeros((size, values.shape[1]), values.dtype)])
        left = _Left(loading, roots, values)
        left, (used, log_scales) = jax.lax.scan(_use, left, jnp.arange(count))
        own = jnp.concatenate([jnp.diag(used.astype(noise.dtype)), jnp.zeros((size, count), noise.dtype)])
        lower = triangular_root(jnp.concatenate([left.roots, own], axis=1))
        return cls(
            shift=left.values[count:],
            residual=-left.values[:count],
            innovation=lower[:count, :count],
            cross=lower[count:, :count],
            root=lower[count:, count:],
            loading=left.loading[count:],
            log_scale=jnp.sum(log_scales),
        )


class _Left(NamedTuple):
    """The joint of (z, x), each a row: loading δ + roots ε; minus what is left of z, and the shift of x."""

    loading: Float[Array, "R d"]
    roots: Float[Array, "R J"]
    values: Float[Array, "R M"]


def _use(left: _Left, i: Array) -> tuple[_Left, tuple[Array, Array]]:
    """Solve row i for a direction of δ, if it sees any, and put the solution into all rows."""
    found = Resolved.by(left.loading, i)
    after = _Left(found.loading, found.put(left.roots, i), found.put(left.values, i))
    return after, (found.sees, found.log_scale)


class Resolved(NamedTuple):
    """What row i of a loading, if it is not zero, makes of all rows: each is less `weights` of that row."""

    loading: Float[Array, "R d"]
    weights: Float[Array, "R"]
    sees: Flag
    log_scale: Scalar  # ½ log F_∞

    @classmethod
    def by(cls, loading: Float[Array, "R d"], i: Array) -> "Resolved":
        """One direction less."""
        look = loading[i]
        sees = jnp.any(look != 0)
        look = jnp.where(sees, look, 1)
        length = jnp.sum(look**2)
        weights = multiply(loading, look) / length
        # A reflection that turns `look` into a multiple of one axis: that axis is resolved, exactly zero from here on.
        # It is one with an entry in `look`, hence not resolved yet.
        axis = jnp.arange(len(look)) == jnp.argmax(jnp.abs(look))
        mirror = look + jnp.where(axis, jnp.sign(look) * jnp.sqrt(length), 0)
        turned = loading - multiply(loading, mirror)[:, None] * mirror * (2 / jnp.sum(mirror**2))
        rest = cleaned(jnp.where(axis, 0, turned), _norms(loading)).at[i].set(0)
        return cls(jnp.where(sees, rest, loading), weights, sees, jnp.where(sees, jnp.log(length) / 2, 0))

    def put(self, rows: Float[Array, "R J"], i: Array) -> Float[Array, "R J"]:
        """Rows less the share of row i, which is used up."""
        return jnp.where(self.sees, _less(rows, self.weights[:, None] * rows[i]).at[i].set(0), rows)


def through(matrix: Float[Array, "M D"], loading: Float[Array, "D d"]) -> Float[Array, "M d"]:
    """matrix @ loading, with rows in which all cancels exactly zero."""
    return cleaned(multiply(matrix, loading), multiply(jnp.abs(matrix), _norms(loading)))


def _less(rows: Float[Array, "R J"], others: Float[Array, "R J"]) -> Float[Array, "R J"]:
    """rows - others, with rows in which all cancels exactly zero."""
    return cleaned(rows - others, _norms(rows) + _norms(others))


def cleaned(rows: Float[Array, "R J"], scale: Float[Array, "R"]) -> Float[Array, "R J"]:
    """Rows, exactly zero where they are nothing but the rounding of numbers of that scale.

    So that whether a direction is seen is a question of zero or not, row by row and whatever the units of the states.
    The derivative of such a row is kept: a zero may be one that parameters move.
    """
    tiny = (_norms(rows) <= rounding(rows) * scale)[:, None]
    return rows - jax.lax.stop_gradient(jnp.where(tiny, rows, 0))


def rounding(array: Array) -> float:
    """What is taken for rounding, relative to what cancelled: epsilon^¾, 6e-6 in float32 and 2e-12 in float64."""
    return float(jnp.finfo(array.dtype).eps) ** 0.75


def _norms(rows: Float[Array, "*batch R J"]) -> Float[Array, "*batch R"]:
    return jnp.sqrt(jnp.sum(jax.lax.stop_gradient(rows) ** 2, axis=-1))
