"""The benchmark on a GPU: its parts, the device, the targets, and the report, which is written part by part.

Code shared with a run on the CPU is in the parent folder. A dry run executes everything without a device.
"""
