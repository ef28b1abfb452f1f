"""The chat with one packet for each token, for benchmarks/browser_stream.py to compare with. Otherwise app.py."""

import app  # noqa: F401 - registers the handlers
import ui.streaming

ui.streaming.INTERVAL_S = 0.0
