"""The `cupy` backend, and pinned memory, which `cuda` uses as well."""
