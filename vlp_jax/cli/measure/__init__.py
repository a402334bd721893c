"""What a run costs: operations, time and memory."""
