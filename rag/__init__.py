"""Everything that answers: documents, retrieval, evidence, models, routing, timings. Knows no user interface."""
