"""A server over one model and one index: what it holds, what it answers, and what it refuses."""
