"""How much of the time went into compiling."""

import time

import jax

# Tracing, lowering and compiling, as JAX reports them.
_EVENTS = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


class Clock:
    """Wall-clock seconds since it was made, split into compiling and running.

    A context manager: JAX's own compilation events are heard between entering and leaving. Traces nest, so the
    compile time of one call is at most the time that the call took.
    """

    def __init__(self) -> None:
        self.compile_seconds = 0.0
        self._heard = 0.0
        self._began = time.perf_counter()

    def __enter__(self) -> "Clock":
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event in _EVENTS:
            self._heard += duration_secs

    def call(self, function, *arguments):
        """function(*arguments), finished, with its compile time counted."""
        before, self._heard = time.perf_counter(), 0.0
        result = jax.block_until_ready(function(*arguments))
        self.compile_seconds += min(self._heard, time.perf_counter() - before)
        return result

    def shares(self, began: float, count: int) -> list[float]:
        """When each of `count` equal parts of the running time since `began` was over."""
        ended = self.running
        return [began + (ended - began) * (i + 1) / count for i in range(count)]

    @property
    def running(self) -> float:
        """Seconds since the start without compiling."""
        return time.perf_counter() - self._began - self.compile_seconds
