"""Kindrail's house. A request meets its rooms in this order:

1. `app`       the door: routes, limits, one shape for every error
2. `wire`      OpenAI bodies and server-sent events, in both directions
3. `chat`      one turn, from the parsed request to the last byte
4. `sessions`  what is remembered of the conversation, found in Redis (`store`)
5. `line`      the rails at work, over the segments that `segments` cuts, merged by `merge`
6. `backends`  the model server
7. `reply`     the answer's way back: a stream, or collected
8. `audit`     what was decided, written down

`turn` has the nouns, `policy` reads what a safety team writes, `cli` is the command line.
"""
