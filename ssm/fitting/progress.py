"""A progress bar with the evidence per observation; silent when nobody watches."""

from tqdm import tqdm


class Progress:
    """One bar over iterations. `shown=False` silences it; otherwise it is silent unless stderr is a terminal."""

    def __init__(self, name: str, total: int, observations: int, shown: bool):
        self._observations = observations
        self._bar = tqdm(total=total, desc=name, unit="iter", disable=None if shown else True, leave=False)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def advance(self, iterations: int, log_prob: float) -> None:
        """`iterations` more are done, and the evidence stands at `log_prob`."""
        self._bar.set_postfix_str(f"{log_prob / self._observations:.5f} nats per observation", refresh=False)
        self._bar.update(iterations)
