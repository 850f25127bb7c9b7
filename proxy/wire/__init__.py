"""OpenAI bodies and server-sent events, in both directions. Pure functions: no I/O, no policy decisions."""
