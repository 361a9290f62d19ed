"""Tools for developers, which are not installed.

`python -m fusedstep.tools.generate` generates files from the registries of layers, losses and optimisers,
`python -m fusedstep.tools.register_table` updates the committed table of CUDA kernels, `python -m fusedstep.tools.warm_cache`
fills the kernel cache of a machine with a device.
"""
