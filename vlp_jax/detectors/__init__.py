"""Region detectors and their pieces: boxes, suppression and pooling in fixed shapes with masks."""
