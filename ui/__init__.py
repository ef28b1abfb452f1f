"""What needs Chainlit besides the handlers."""
