"""What the rail `colang` is made of, in reading order.

Read once, when a policy is loaded: `nemo` (the one door to NeMo Guardrails), `parse` (one `.co` file), `script` (its
nouns), `lint` and `names` (what is wrong in it), `listed` (which flows run, and what they reach), `stock` (NeMo's own
configurations and library), `code` (a policy's Python), `folder` (all of it together).

Run at every check: `context` and `variables` (what a flow sees and sets), `expressions` and `sandbox` (what it may
compute), `runner` (one flow from its start to its end), `calls` (an action), `messages` (a line with variables).

Actions: `actions` (Kindrail's own), `sensitive` and `patterns` (in the place of NeMo's), `model` and `intents` (flows
that ask a language model).
"""
