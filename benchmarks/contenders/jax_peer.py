"""JAX with optax: the whole step one compiled function that updates its arguments in place."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import cycle
from typing import Any, ClassVar

from ...backends.threads import available_threads
from ..problem import BETA1, BETA2, CLIP_NORM, EPSILON, LAYER_NORM_EPSILON, LEARNING_RATE, WEIGHT_DECAY, Problem
from ..timing import Prepared
from .base import Contender, Missing


class Jax(Contender):
    """One jit of value_and_grad and the optax update, parameters and states donated, minibatches on the device beforehand.

    Dropout draws with the "rbg" generator, the faster one of JAX. `finish` waits for the last loss, and as a step needs the
    parameters of the one before, for all of them.
    """

    name: ClassVar[str] = "jax"
    needs: ClassVar[tuple[tuple[str, str], ...]] = (("jax", "jax"), ("optax", "optax"))

    def refuses(self, problem: Problem) -> Missing | None:
        """XLA's threads are as many as the process has processors, once and for all."""
        if problem.threads != available_threads():
            return Missing("the number of XLA's threads cannot be changed in a running process")
        return None

    def prepare(self, problem: Problem) -> Prepared:
        """Compiles nothing yet: the first call does."""
        with precision(problem):
            run = JaxStep(problem)
        return Prepared(run, lambda loss: loss.block_until_ready(), run.reset, lambda: precision(problem))


def precision(problem: Problem) -> AbstractContextManager[Any]:
    """Within it arrays may be float64, where the problem asks for it."""
    if problem.precision == "float32":
        return nullcontext()
    import jax

    context: AbstractContextManager[Any] = jax.enable_x64(True)
    return context


class JaxStep:
    """The compiled step with its parameters and states.

    Args: problem.
    """

    def __init__(self, problem: Problem) -> None:
        import jax
        import optax

        self.problem = problem
        adam: dict[str, Any] = {"b1": BETA1, "b2": BETA2, "eps": EPSILON}
        if problem.full:
            decays = lambda parameters: jax.tree.map(lambda p: p.ndim == 2, parameters)  # noqa: E731
            self.optimizer = optax.chain(
                optax.clip_by_global_norm(CLIP_NORM),
                optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY, mask=decays, **adam),
            )
        else:
            self.optimizer = optax.adam(LEARNING_RATE, **adam)
        self.batches = [(jax.device_put(x), jax.device_put(y.astype("int32"))) for x, y in problem.minibatches]
        self.compiled = partial(jax.jit, donate_argnums=(0, 1))(self._train)
        self.reset()

    def reset(self) -> None:
        """The common start, states 0, the same random key, minibatches from the first."""
        import jax
        import jax.numpy as jnp

        self.parameters: list[dict[str, Any]] = []
        for k, (w, b) in enumerate(self.problem.start):
            layer = {"w": jnp.array(w), "b": jnp.array(b)}
            if self.problem.full and k < len(self.problem.start) - 1:
                layer |= {"gain": jnp.ones_like(layer["b"]), "offset": jnp.zeros_like(layer["b"])}
            self.parameters.append(layer)
        self.state = self.optimizer.init(self.parameters)
        self.key = jax.random.key(self.problem.seed, impl="rbg")
        self.turn = cycle(self.batches)
        self.number = 0

    def _logits(self, parameters: Any, x: Any, key: Any) -> Any:
        import jax
        import jax.numpy as jnp

        keep = 1.0 - self.problem.dropped
        for k, layer in enumerate(parameters):
            x = x @ layer["w"] + layer["b"]
            if k == len(parameters) - 1:
                return x
            if not self.problem.full:
                x = jax.nn.relu(x)
            else:
                centred = x - jnp.mean(x, axis=1, keepdims=True)
                variance = jnp.mean(centred * centred, axis=1, keepdims=True)
                x = centred * jax.lax.rsqrt(variance + LAYER_NORM_EPSILON) * layer["gain"] + layer["offset"]
                x = jax.nn.gelu(x, approximate=False)
            if keep < 1.0:
                kept = jax.random.bernoulli(jax.random.fold_in(key, k), keep, x.shape)
                x = jnp.where(kept, x / keep, 0.0)
        return x

    def _loss(self, parameters: Any, x: Any, y: Any, key: Any) -> Any:
        import optax

        return optax.softmax_cross_entropy_with_integer_labels(self._logits(parameters, x, key), y).mean()

    def _train(self, parameters: Any, state: Any, x: Any, y: Any, key: Any, number: Any) -> Any:
        import jax
        import optax

        key = jax.random.fold_in(key, number) if self.problem.dropped else key
        loss, gradient = jax.value_and_grad(self._loss)(parameters, x, y, key)
        changes, state = self.optimizer.update(gradient, state, parameters)
        return optax.apply_updates(parameters, changes), state, loss

    def __call__(self) -> Any:
        self.number += 1
        x, y = next(self.turn)
        self.parameters, self.state, loss = self.compiled(self.parameters, self.state, x, y, self.key, self.number)
        return loss
