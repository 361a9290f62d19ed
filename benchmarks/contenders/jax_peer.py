"""JAX with optax: the whole step one compiled function that updates its arguments in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle
from typing import Any, ClassVar

import numpy as np

from ...backends.threads import available_threads
from ..problem import BETA1, BETA2, CLIP_NORM, EPSILON, LAYER_NORM_EPSILON, WEIGHT_DECAY, Problem
from ..timing import Prepared
from .base import Contender, Missing, Where

HERE = Where()


class Jax(Contender):
    """One jit of value_and_grad and the optax update, parameters and states donated, minibatches on the device beforehand.

    Dropout draws with the "rbg" generator, the faster one of JAX. `finish` waits for the last loss, and as a step needs the
    parameters of the one before, for all of them; JAX has no events, so its clock is the host's also on a GPU.
    On a GPU float32 products are taken in float32 or TF32 as the problem says; "bfloat16" has float32 parameters, cast in the
    step, and minibatches that are bfloat16 beforehand; logits are float32. Rows of resident data are taken inside the jit.

    Args: where – device and clock.
    """

    name: ClassVar[str] = "jax"
    needs: ClassVar[tuple[tuple[str, str], ...]] = (("jax", "jax"), ("optax", "optax"))

    def __init__(self, where: Where = HERE) -> None:
        self.where = where
        self.device = where.device

    def missing(self) -> Missing | None:
        """Besides JAX and optax there has to be a GPU that it can use, where one is asked for."""
        absent = super().missing()
        if absent is None and self.where.cuda:
            import jax

            try:
                jax.devices("cuda")
            except Exception as error:  # its plugin fails in many ways where versions do not fit together
                reason = str(error).strip().partition("\n")[0]
                return Missing(f"jax {jax.__version__} sees no CUDA device ({reason})", 'pip install "jax[cuda13]"')
        return absent

    def refuses(self, problem: Problem) -> Missing | None:
        """XLA's threads are as many as the process has processors, once and for all; float16 would need its own loss scale."""
        if problem.precision == "float16":
            return Missing("float16 with a loss scale is not written for it")
        if not self.where.cuda and problem.threads != available_threads():
            return Missing("the number of XLA's threads cannot be changed in a running process")
        return None

    def prepare(self, problem: Problem) -> Prepared:
        """Compiles nothing yet: the first call does."""
        with settings(problem, self.where.device):
            run = JaxStep(problem)
        around = partial(settings, problem, self.where.device)
        return Prepared(run, lambda loss: loss.block_until_ready(), run.reset, around, clock=self.where.clock)


class JaxScan(Jax):
    """One jit that takes several steps by jax.lax.scan, each with the rows of its own minibatch of resident data."""

    name: ClassVar[str] = "jax-scan"
    several: ClassVar[bool] = True

    def refuses(self, problem: Problem) -> Missing | None:
        """Without resident data there is nothing to scan over."""
        return super().refuses(problem) or (None if problem.resident else Missing("scans over resident data only"))

    def prepare(self, problem: Problem) -> Prepared:
        """As Jax, with calls of several steps."""
        with settings(problem, self.where.device):
            run = JaxSteps(problem)
        around = partial(settings, problem, self.where.device)
        losses = lambda handle: [float(loss) for loss in handle]  # noqa: E731
        return Prepared(
            run, lambda found: found.block_until_ready(), run.reset, around, clock=self.where.clock, covers=problem.launch,
            losses=losses,
        )  # fmt: skip


@contextmanager
def settings(problem: Problem, device: str) -> Iterator[None]:
    """Within it JAX uses that device, and the numbers and products that a problem asks for."""
    import jax

    with ExitStack() as stack:
        stack.enter_context(jax.default_device(jax.devices(device)[0]))
        if problem.precision == "float64":
            stack.enter_context(jax.enable_x64(True))
        if problem.precision == "float32":
            # On a GPU XLA computes products of float32 in TF32 by default.
            stack.enter_context(jax.default_matmul_precision("highest"))
        yield


class JaxStep:
    """The compiled step with its parameters and states.

    Args: problem.
    """

    def __init__(self, problem: Problem) -> None:
        import jax
        import jax.numpy as jnp
        import optax

        self.problem = problem
        adam: dict[str, Any] = {"b1": BETA1, "b2": BETA2, "eps": EPSILON}
        if problem.full:
            decays = lambda parameters: jax.tree.map(lambda p: p.ndim == 2, parameters)  # noqa: E731
            self.optimizer = optax.chain(
                optax.clip_by_global_norm(CLIP_NORM),
                optax.adamw(problem.learning_rate, weight_decay=WEIGHT_DECAY, mask=decays, **adam),
            )
        else:
            self.optimizer = optax.adam(problem.learning_rate, **adam)
        self.reduced = "bfloat16" if problem.precision == "bfloat16" else None
        data = self.reduced or problem.dtype
        if problem.resident:
            x, y = problem.data
            self.data = (jnp.asarray(x, data), jnp.asarray(y, "int32"))
            self.minibatches = self._indices()
        else:
            self.minibatches = [(jnp.asarray(x, data), jnp.asarray(y, "int32")) for x, y in problem.minibatches]
        self.start = [(jnp.asarray(w), jnp.asarray(b)) for w, b in problem.start]
        self.compiled = partial(jax.jit, donate_argnums=(0, 1))(self._taken if problem.resident else self._train)
        self.reset()

    def _indices(self) -> list[Any]:
        """What a call on resident data is given in turn: the numbers of the rows of its minibatch."""
        import jax.numpy as jnp

        return [jnp.asarray(chosen, "int32") for chosen in self.problem.indices]

    def reset(self) -> None:
        """The common start, states 0, the same random key, minibatches from the first."""
        import jax
        import jax.numpy as jnp

        self.state: Any = None  # what is there goes before there is more
        self.parameters: list[dict[str, Any]] = []
        for k, (w, b) in enumerate(self.start):
            layer = {"w": jnp.array(w), "b": jnp.array(b)}  # copies, because a step uses its arguments up
            if self.problem.full and k < len(self.start) - 1:
                layer |= {"gain": jnp.ones_like(layer["b"]), "offset": jnp.zeros_like(layer["b"])}
            self.parameters.append(layer)
        self.state = self.optimizer.init(self.parameters)
        self.key = jax.random.key(self.problem.seed, impl="rbg")
        self.turn = cycle(self.minibatches)
        self.number = 0

    def _logits(self, parameters: Any, x: Any, key: Any) -> Any:
        """The outputs; key – for dropout, None in evaluation mode."""
        import jax
        import jax.numpy as jnp

        keep = 1.0 - self.problem.dropped
        for k, layer in enumerate(parameters):
            w, b = layer["w"], layer["b"]
            if self.reduced:
                w, b = w.astype(self.reduced), b.astype(self.reduced)
            x = x @ w + b
            if k == len(parameters) - 1:
                return x.astype(self.problem.dtype)
            if not self.problem.full:
                x = jax.nn.relu(x)
            else:
                centred = x - jnp.mean(x, axis=1, keepdims=True)
                variance = jnp.mean(centred * centred, axis=1, keepdims=True)
                x = centred * jax.lax.rsqrt(variance + LAYER_NORM_EPSILON) * layer["gain"] + layer["offset"]
                x = jax.nn.gelu(x, approximate=False)
            if keep < 1.0 and key is not None:
                mask = jax.random.bernoulli(jax.random.fold_in(key, k), keep, x.shape)
                x = jnp.where(mask, x / keep, 0.0)
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

    def _taken(self, parameters: Any, state: Any, x: Any, y: Any, chosen: Any, key: Any, number: Any) -> Any:
        """The step on those rows of the data."""
        x, y = (array.at[chosen].get(mode="promise_in_bounds") for array in (x, y))
        return self._train(parameters, state, x, y, key, number)

    def __call__(self) -> Any:
        self.number += 1
        minibatch = next(self.turn)
        given = (*self.data, minibatch) if self.problem.resident else minibatch
        self.parameters, self.state, loss = self.compiled(self.parameters, self.state, *given, self.key, self.number)
        return loss


class JaxSteps(JaxStep):
    """Several compiled steps, one after the other; a call gives all their losses.

    Args: problem – resident.
    """

    def _indices(self) -> list[Any]:
        import jax.numpy as jnp

        problem = self.problem
        turns = np.tile(problem.indices, (problem.launch, 1)).reshape(-1, problem.launch, problem.network.batch)
        return [jnp.asarray(chosen, "int32") for chosen in turns]

    def _taken(self, parameters: Any, state: Any, x: Any, y: Any, chosen: Any, key: Any, number: Any) -> Any:
        import jax

        one = super()._taken

        def follow(carry: Any, rows: Any) -> Any:
            parameters, state, number = carry
            parameters, state, loss = one(parameters, state, x, y, rows, key, number)
            return (parameters, state, number + 1), loss

        (parameters, state, _), losses = jax.lax.scan(follow, (parameters, state, number), chosen)
        return parameters, state, losses

    def __call__(self) -> Any:
        losses = super().__call__()
        self.number += self.problem.launch - 1
        return losses
