"""Policies: what a safety team writes in YAML, read without guessing.

`marks` reads YAML with its places, `schema` and `typed` give it types, `check` finds every fault, `bind` builds the
rails, `load` the running `Policy` (`model`). `trial` runs a policy's own tests, `explain` shows what it does with a
text, `report` prints, `docs` writes the page on rails.
"""

from proxy.faults import Fault, PolicyError
from proxy.policy.load import load_folder, load_policy
from proxy.policy.model import Bound, Policy

__all__ = ["Bound", "Fault", "Policy", "PolicyError", "load_folder", "load_policy"]
