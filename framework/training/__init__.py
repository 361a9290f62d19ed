"""The loop over data: trainer, schedules, stopping, callbacks, history, metrics."""
