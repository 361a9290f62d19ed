"""Every optimiser with what it is compared to: its rule in plain NumPy, and the same rule of optax and of PyTorch.

The NumPy references follow the papers and the notes, not the code: no fused scalars, one array at a time. A new optimiser has
its row in REFERENCES, and one in the table of each peer that defines the same rule.
"""

from __future__ import annotations

import numpy as np

import fusedstep as fs


def sgd(theta, g, m, t, lr):
    return theta - lr * g


def momentum_update(theta, g, m, t, lr, gamma=0.9):
    m["u"] = gamma * m.get("u", 0.0) + lr * g
    return theta - m["u"]


def momentum_velocity(theta, g, m, t, lr, gamma=0.9):
    m["M"] = gamma * m.get("M", 0.0) - lr * g
    return theta + m["M"]


def momentum_average(theta, g, m, t, lr, gamma=0.9):
    m["m"] = gamma * m.get("m", 0.0) + (1 - gamma) * g
    return theta - lr * m["m"]


def momentum_sum(theta, g, m, t, lr, gamma=0.9):
    m["u"] = gamma * m.get("u", 0.0) + g
    return theta - lr * m["u"]


def nesterov(theta, g, m, t, lr, gamma=0.9):
    m["u"] = gamma * m.get("u", 0.0) + g
    return theta - lr * (g + gamma * m["u"])


def adagrad(theta, g, m, t, lr, eps=1e-4, inside=False):
    m["v"] = m.get("v", 0.0) + g**2
    return theta - lr * g / (np.sqrt(m["v"] + eps) if inside else np.sqrt(m["v"]) + eps)


def rmsprop(theta, g, m, t, lr, beta=0.8, eps=1e-4, inside=False):
    m["v"] = beta * m.get("v", 0.0) + (1 - beta) * g**2
    return theta - lr * g / (np.sqrt(m["v"] + eps) if inside else np.sqrt(m["v"]) + eps)


def adadelta(theta, g, m, t, lr, rho=0.8, eps=1e-4, inside=True):
    def root(x):
        return np.sqrt(x + eps) if inside else np.sqrt(x) + eps

    m["v"] = rho * m.get("v", 0.0) + (1 - rho) * g**2
    s = root(m.get("d", 0.0)) / root(m["v"]) * g
    m["d"] = rho * m.get("d", 0.0) + (1 - rho) * s**2
    return theta - lr * s


def adam_moments(g, m, b1, b2):
    m["m"] = b1 * m.get("m", 0.0) + (1 - b1) * g
    m["v"] = b2 * m.get("v", 0.0) + (1 - b2) * g**2


def adam(theta, g, m, t, lr, b1=0.8, b2=0.95, eps=1e-4, inside=False):
    adam_moments(g, m, b1, b2)
    first, second = m["m"] / (1 - b1**t), m["v"] / (1 - b2**t)
    return theta - lr * first / (np.sqrt(second + eps) if inside else np.sqrt(second) + eps)


def nadam(theta, g, m, t, lr, b1=0.8, b2=0.95, eps=1e-4):
    adam_moments(g, m, b1, b2)
    first = b1 * m["m"] / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
    return theta - lr * first / (np.sqrt(m["v"] / (1 - b2**t)) + eps)


def radam(theta, g, m, t, lr, b1=0.8, b2=0.95, eps=1e-4, inside=False):
    adam_moments(g, m, b1, b2)
    first, longest = m["m"] / (1 - b1**t), 2 / (1 - b2) - 1
    length = longest - 2 * t * b2**t / (1 - b2**t)
    if length <= 5:
        return theta - lr * first
    r = np.sqrt((length - 4) / (longest - 4) * (length - 2) / (longest - 2) * longest / length)
    second = m["v"] / (1 - b2**t)
    return theta - lr * r * first / (np.sqrt(second + eps) if inside else np.sqrt(second) + eps)


def schedule_free_adamw(theta, g, m, t, lr, b1=0.8, b2=0.95, eps=1e-4, warmup=0, decay=0.0):
    """x and z are kept, and y is what is returned; weights of x are those of a constant lr, and their sum is added up."""
    m.setdefault("x", theta), m.setdefault("z", theta)
    m["v"] = b2 * m.get("v", 0.0) + (1 - b2) * g**2
    rise = min(1.0, t / warmup) if warmup else 1.0
    m["sum"] = m.get("sum", 0.0) + rise**2
    c = rise**2 / m["sum"]
    m["z"] = m["z"] - lr * rise * (g / (np.sqrt(m["v"] / (1 - b2**t)) + eps) + decay * theta)
    m["x"] = (1 - c) * m["x"] + c * m["z"]
    return (1 - b1) * m["z"] + b1 * m["x"]


def adamax(theta, g, m, t, lr, b1=0.8, b2=0.95, eps=1e-4):
    m["m"] = b1 * m.get("m", 0.0) + (1 - b1) * g
    m["u"] = np.maximum(b2 * m.get("u", 0.0), np.abs(g) + eps)
    return theta - lr / (1 - b1**t) * m["m"] / m["u"]


def orthogonalised(x, steps=5, eps=1e-4):
    """Newton-Schulz steps, as written down by Jordan (2024)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (np.sqrt((x**2).sum()) + eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def muon(theta, g, m, t, lr, momentum=0.9, b1=0.8, b2=0.95, eps=1e-4, hidden=False):
    """A hidden matrix [inputs, outputs], or any other parameter, by Adam; lr is that of its kind."""
    if hidden:
        m["m"] = momentum * m.get("m", 0.0) + (1 - momentum) * g
        mean = momentum * m["m"] + (1 - momentum) * g
        return theta - lr * np.sqrt(max(1.0, theta.shape[1] / theta.shape[0])) * orthogonalised(mean)
    return adam(theta, g, m, t, lr, b1, b2, eps)


def lion(theta, g, m, t, lr, b1=0.8, b2=0.95):
    old = m.get("m", np.zeros_like(g))
    m["m"] = b2 * old + (1 - b2) * g
    return theta - lr * np.sign(b1 * old + (1 - b1) * g)


def sign_descent(theta, g, m, t, lr):
    return theta - lr * np.sign(g)


NOT_PROXIMAL = {"ScheduleFreeAdamW"}
"""Optimisers that refuse l1_form="proximal"."""
EPS = {"epsilon": 1e-4}
BETAS = {"beta1": 0.8, "beta2": 0.95}

# (class name, arguments, reference, arguments of the reference); LAMB and look-ahead Nesterov have functions of their own.
REFERENCES = [
    ("SGD", {"lr": 0.01}, sgd, {}),
    ("Momentum", {"lr": 0.01, "form": "update"}, momentum_update, {}),
    ("Momentum", {"lr": 0.01, "form": "velocity"}, momentum_velocity, {}),
    ("Momentum", {"lr": 0.05, "form": "average"}, momentum_average, {}),
    ("Momentum", {"lr": 0.01, "form": "sum"}, momentum_sum, {}),
    ("Nesterov", {"lr": 0.01, "form": "reformulated"}, nesterov, {}),
    ("Nesterov", {"lr": 0.01, "form": "look_ahead"}, "look-ahead", {}),
    ("AdaGrad", {"lr": 0.05, **EPS}, adagrad, {}),
    ("AdaGrad", {"lr": 0.05, "epsilon_placement": "inside", **EPS}, adagrad, {"inside": True}),
    ("RMSProp", {"lr": 0.01, "beta": 0.8, **EPS}, rmsprop, {}),
    ("RMSProp", {"lr": 0.01, "beta": 0.8, "epsilon_placement": "inside", **EPS}, rmsprop, {"inside": True}),
    ("AdaDelta", {"lr": 0.7, "rho": 0.8, **EPS}, adadelta, {}),
    ("AdaDelta", {"lr": 0.7, "rho": 0.8, "epsilon_placement": "outside", **EPS}, adadelta, {"inside": False}),
    ("Adam", {"lr": 0.01, **BETAS, **EPS}, adam, {}),
    ("Adam", {"lr": 0.01, **BETAS, **EPS, "epsilon_placement": "inside"}, adam, {"inside": True}),
    ("AdamW", {"lr": 0.01, **BETAS, **EPS, "weight_decay": 0.0}, adam, {}),
    ("NAdam", {"lr": 0.01, **BETAS, **EPS}, nadam, {}),
    ("RAdam", {"lr": 0.01, **BETAS, **EPS}, radam, {}),
    ("RAdam", {"lr": 0.01, **BETAS, **EPS, "epsilon_placement": "inside"}, radam, {"inside": True}),
    ("Adamax", {"lr": 0.01, **BETAS, **EPS}, adamax, {}),
    ("Lion", {"lr": 0.003, **BETAS}, lion, {}),
    ("ScheduleFreeAdamW", {"lr": 0.02, **BETAS, **EPS}, schedule_free_adamw, {}),
    ("ScheduleFreeAdamW", {"lr": 0.02, **BETAS, **EPS, "warmup_steps": 30}, schedule_free_adamw, {"warmup": 30}),
    ("Muon", {"lr": 0.02, "momentum": 0.9, "adam_lr": 0.005, "weight_decay": 0.0, **BETAS, **EPS}, muon, {}),
    ("SignDescent", {"lr": 0.003}, sign_descent, {}),
    ("LAMB", {"lr": 0.01, **BETAS, **EPS}, "lamb", {}),
]


def weights_only(parameters):
    """What decays in this library by default."""
    return {name: name.endswith("weight") for name in parameters}


def optax_cases(optax):
    """Name -> (ours, the transformation of optax)."""
    import jax.numpy as jnp

    def decayed(alpha):
        """The gradient of (alpha / 2) ||theta||^2 on the weights."""
        return optax.add_decayed_weights(alpha, mask=weights_only)

    return {
        "SGD": (fs.SGD(0.1), optax.sgd(0.1)),
        "SGD with l2": (fs.SGD(0.1, l2=0.02), optax.chain(decayed(0.02), optax.sgd(0.1))),
        "SGD with weight_decay": (
            fs.SGD(0.1, weight_decay=0.03),
            optax.chain(decayed(0.03), optax.sgd(0.1)),
        ),
        "Momentum sum": (fs.Momentum(0.05, 0.9, form="sum"), optax.sgd(0.05, momentum=0.9)),
        "Momentum update": (fs.Momentum(0.05, 0.9, form="update"), optax.sgd(0.05, momentum=0.9)),
        "Momentum velocity": (fs.Momentum(0.05, 0.9, form="velocity"), optax.sgd(0.05, momentum=0.9)),
        "Momentum average": (
            fs.Momentum(0.3, 0.9, form="average"),
            optax.chain(optax.ema(0.9, debias=False), optax.scale_by_learning_rate(0.3)),
        ),
        "Momentum sum with l2": (
            fs.Momentum(0.05, 0.8, form="sum", l2=0.02),
            optax.chain(decayed(0.02), optax.sgd(0.05, momentum=0.8)),
        ),
        "Nesterov": (fs.Nesterov(0.05, 0.9), optax.sgd(0.05, momentum=0.9, nesterov=True)),
        "AdaGrad inside": (
            fs.AdaGrad(0.05, 1e-7, epsilon_placement="inside"),
            optax.adagrad(0.05, initial_accumulator_value=0.0, eps=1e-7),
        ),
        "RMSProp inside": (
            fs.RMSProp(0.01, 0.9, 1e-6, epsilon_placement="inside"),
            optax.rmsprop(0.01, 0.9, 1e-6, eps_in_sqrt=True),
        ),
        "RMSProp outside": (
            fs.RMSProp(0.01, 0.9, 1e-6, epsilon_placement="outside"),
            optax.rmsprop(0.01, 0.9, 1e-6, eps_in_sqrt=False),
        ),
        "AdaDelta inside": (fs.AdaDelta(1.0, 0.9, 1e-4), optax.adadelta(1.0, 0.9, 1e-4)),
        "AdaDelta inside with l2": (
            fs.AdaDelta(1.0, 0.9, 1e-4, l2=0.01),
            optax.adadelta(1.0, 0.9, 1e-4, weight_decay=0.01, weight_decay_mask=weights_only),
        ),
        "Adam outside": (fs.Adam(0.01, 0.9, 0.999, 1e-8), optax.adam(0.01, 0.9, 0.999, 1e-8)),
        "Adam inside": (
            fs.Adam(0.01, 0.9, 0.999, 1e-6, epsilon_placement="inside"),
            optax.adam(0.01, 0.9, 0.999, eps=0.0, eps_root=1e-6),
        ),
        "Adam with l2": (
            fs.Adam(0.01, 0.8, 0.99, 1e-7, l2=0.05),
            optax.chain(decayed(0.05), optax.adam(0.01, 0.8, 0.99, 1e-7)),
        ),
        "AdamW": (
            fs.AdamW(0.01, 0.9, 0.999, 1e-8, weight_decay=0.1),
            optax.adamw(0.01, 0.9, 0.999, 1e-8, weight_decay=0.1, mask=weights_only),
        ),
        "NAdam": (fs.NAdam(0.01, 0.9, 0.999, 1e-8), optax.nadam(0.01, 0.9, 0.999, 1e-8)),
        "NAdam with weight_decay": (
            fs.NAdam(0.01, 0.9, 0.99, 1e-8, weight_decay=0.1),
            optax.nadamw(0.01, 0.9, 0.99, 1e-8, weight_decay=0.1, mask=weights_only),
        ),
        "RAdam": (fs.RAdam(0.01, 0.9, 0.999, 1e-8), optax.radam(0.01, 0.9, 0.999, 1e-8)),
        "RAdam inside": (
            fs.RAdam(0.01, 0.9, 0.999, 1e-6, epsilon_placement="inside"), optax.radam(0.01, 0.9, 0.999, eps=0.0, eps_root=1e-6),
        ),
        "RAdam with l2": (
            fs.RAdam(0.01, 0.8, 0.99, 1e-7, l2=0.05),
            optax.chain(decayed(0.05), optax.radam(0.01, 0.8, 0.99, 1e-7)),
        ),
        "RAdam that stays momentum": (fs.RAdam(0.01, 0.9, 0.6), optax.radam(0.01, 0.9, 0.6)),
        "Adamax": (fs.Adamax(0.01, 0.9, 0.99, 1e-8), optax.adamax(0.01, 0.9, 0.99, 1e-8)),
        "Adamax with weight_decay": (
            fs.Adamax(0.01, 0.9, 0.99, 1e-8, weight_decay=0.1),
            optax.adamaxw(0.01, 0.9, 0.99, 1e-8, weight_decay=0.1, mask=weights_only),
        ),
        "Muon": (
            fs.Muon(0.02, bias_correction=True, matrices=["*"], adam_lr=0.02, adam_nesterov=True, weight_decay=0.0),
            optax.contrib.muon(0.02),
        ),
        "Muon with rms, weight_decay and another rate for the rest": (
            fs.Muon(
                0.02, 0.9, bias_correction=True, newton_schulz_steps=4, scale="rms", matrices=["*.weight"], adam_lr=0.003,
                beta1=0.8, beta2=0.99, epsilon=1e-7, adam_nesterov=True, weight_decay=0.1,
            ),
            optax.contrib.muon(
                0.02, ns_steps=4, beta=0.9, eps=1e-7, weight_decay=0.1, adam_b1=0.8, adam_b2=0.99, adam_learning_rate=0.003,
                consistent_rms=0.2,
            ),
        ),
        "Muon without Nesterov": (
            fs.Muon(0.02, nesterov=False, bias_correction=True, matrices=["*"], adam_lr=0.02, weight_decay=0.0),
            optax.contrib.muon(0.02, nesterov=False),
        ),
        "Lion": (fs.Lion(0.003, 0.9, 0.99), optax.lion(0.003, 0.9, 0.99, weight_decay=0.0)),
        "Lion with weight_decay": (
            fs.Lion(0.003, 0.9, 0.99, weight_decay=0.1),
            optax.lion(0.003, 0.9, 0.99, weight_decay=0.1, mask=weights_only),
        ),
        "LAMB": (fs.LAMB(0.01, 0.9, 0.999, 1e-6), optax.lamb(0.01, 0.9, 0.999, 1e-6)),
        "LAMB with weight_decay": (
            fs.LAMB(0.01, 0.9, 0.999, 1e-6, weight_decay=0.1),
            optax.lamb(0.01, 0.9, 0.999, 1e-6, weight_decay=0.1, mask=weights_only),
        ),
        "ScheduleFreeAdamW": (fs.ScheduleFreeAdamW(0.01), optax.contrib.schedule_free_adamw(0.01)),
        "ScheduleFreeAdamW with weight_decay and a warm-up": (
            fs.ScheduleFreeAdamW(0.01, 0.95, 0.99, 1e-7, weight_decay=0.1, warmup_steps=20),
            # Their schedule_free_adamw counts steps of the warm-up from 0 in the update and from 1 in the weights, and their
            # linear_schedule computes in float32.
            optax.contrib.schedule_free(
                optax.chain(
                    optax.scale_by_rms(0.99, 1e-7, eps_in_sqrt=False, bias_correction=True),
                    optax.add_decayed_weights(0.1, mask=weights_only),
                    optax.scale_by_learning_rate(lambda count: jnp.minimum(0.01, 0.0005 * (count + 1.0))),
                ),
                lambda count: jnp.minimum(0.01, 0.0005 * count),
                b1=0.95,
            ),
        ),
        "SignDescent": (fs.SignDescent(0.002), optax.sign_sgd(0.002)),
        "clip_norm": (
            fs.SGD(0.1, clip_norm=0.3),
            optax.chain(optax.clip_by_global_norm(0.3), optax.sgd(0.1)),
        ),
        "clip_value": (fs.SGD(0.1, clip_value=0.02), optax.chain(optax.clip(0.02), optax.sgd(0.1))),
        "clip_norm, clip_value, l2": (
            fs.Adam(0.01, clip_norm=0.4, clip_value=0.05, l2=0.01),
            optax.chain(optax.clip_by_global_norm(0.4), optax.clip(0.05), decayed(0.01), optax.adam(0.01)),
        ),
    }  # fmt: skip


def torch_cases(optim):
    """Name -> (ours, class of torch.optim, its settings, its weight_decay); clipping by norm and NAdam differ there."""
    return {
        "SGD": (fs.SGD(0.1), optim.SGD, {"lr": 0.1}, 0.0),
        "SGD with l2": (fs.SGD(0.1, l2=0.02), optim.SGD, {"lr": 0.1}, 0.02),
        "Momentum sum": (fs.Momentum(0.05, 0.9, form="sum"), optim.SGD, {"lr": 0.05, "momentum": 0.9}, 0.0),
        "Momentum sum with l2": (
            fs.Momentum(0.05, 0.9, form="sum", l2=0.02), optim.SGD, {"lr": 0.05, "momentum": 0.9}, 0.02,
        ),
        "Nesterov": (fs.Nesterov(0.05, 0.9), optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}, 0.0),
        "Nesterov with l2": (
            fs.Nesterov(0.05, 0.9, l2=0.02), optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}, 0.02,
        ),
        "AdaGrad outside": (fs.AdaGrad(0.05, 1e-10), optim.Adagrad, {"lr": 0.05, "eps": 1e-10}, 0.0),
        "AdaGrad outside with l2": (
            fs.AdaGrad(0.05, 1e-6, l2=0.02), optim.Adagrad, {"lr": 0.05, "eps": 1e-6}, 0.02,
        ),
        "RMSProp outside": (
            fs.RMSProp(0.01, 0.95, 1e-6), optim.RMSprop, {"lr": 0.01, "alpha": 0.95, "eps": 1e-6}, 0.0,
        ),
        "RMSProp outside with l2": (
            fs.RMSProp(0.01, 0.95, 1e-6, l2=0.02), optim.RMSprop, {"lr": 0.01, "alpha": 0.95, "eps": 1e-6}, 0.02,
        ),
        "AdaDelta inside": (
            fs.AdaDelta(1.0, 0.9, 1e-4), optim.Adadelta, {"lr": 1.0, "rho": 0.9, "eps": 1e-4}, 0.0,
        ),
        "Adam outside": (fs.Adam(0.01), optim.Adam, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8}, 0.0),
        "Adam outside with l2": (
            fs.Adam(0.01, 0.8, 0.99, 1e-7, l2=0.02), optim.Adam, {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-7}, 0.02,
        ),
        "AdamW": (fs.AdamW(0.01, weight_decay=0.1), optim.AdamW, {"lr": 0.01}, 0.1),
        # Their epsilon is added to the root before the bias is corrected; one of 1e-14 makes no difference of 1e-10.
        "RAdam": (fs.RAdam(0.01, epsilon=1e-14), optim.RAdam, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-14}, 0.0),
        "RAdam with l2": (
            fs.RAdam(0.01, 0.8, 0.99, 1e-14, l2=0.02), optim.RAdam, {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-14}, 0.02,
        ),
        "Adamax": (
            fs.Adamax(0.01, 0.9, 0.99, 1e-8), optim.Adamax, {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8}, 0.0,
        ),
        "Adamax with l2": (
            fs.Adamax(0.01, 0.9, 0.99, 1e-8, l2=0.02), optim.Adamax, {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8}, 0.02,
        ),
    }  # fmt: skip
