"""The `cupy` backend, and transfers through pinned memory, which `cuda` uses as well."""
