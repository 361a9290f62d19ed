"""The run on a GPU: its parts, where they run, what they are to reach, and the report that is written part by part.

Everything that a run on a CPU has as well is one folder up. A dry run walks through all of it without a device.
"""
