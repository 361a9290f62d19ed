"""Tools of developers, which no user runs and which are not installed.

`python -m fusedstep.tools.generate` writes what follows from the registries of layers, losses and optimisers, `python -m
fusedstep.tools.register_table` brings the committed table of CUDA kernels up to date, `python -m fusedstep.tools.warm_cache`
fills the kernel cache of a machine with a device.
"""
