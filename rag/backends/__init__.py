"""What generates: one protocol, and an implementation for each kind of model server."""
