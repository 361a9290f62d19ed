"""One training step: parameters in one buffer, the tape, the model, precision, micro-batches, checks. No loop over data."""
