"""What options may be, for help texts that import no layers; written by `python -m fusedstep.tools.generate`."""

ACTIVATIONS = "elu, gelu, identity, leaky_relu, mish, prelu, relu, sigmoid, silu or tanh"
OPTIMIZERS = (
    "AdaDelta, AdaGrad, Adam, Adamax, AdamW, LAMB, Lion, Momentum, Muon, NAdam, Nesterov, RAdam, RMSProp, "
    "ScheduleFreeAdamW, SGD or SignDescent"
)
