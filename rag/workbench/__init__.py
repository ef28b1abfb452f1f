"""What the command line runs besides answering: evaluation."""
