"""NeMo Guardrails made quiet: the one door to it, behind which nothing is sent, logged or executed unasked.

Its telemetry is off before the import, its loggers (which quote texts) are silent, and its `ActionDispatcher`, which
would run `actions.py` of the working directory and of any configuration, loads NeMo's own actions only.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

os.environ["NEMO_GUARDRAILS_NO_USAGE_STATS"] = os.environ["DO_NOT_TRACK"] = "1"

import nemoguardrails
from nemoguardrails import RailsConfig
from nemoguardrails.actions.action_dispatcher import ActionDispatcher
from nemoguardrails.actions.actions import ActionResult
from nemoguardrails.actions.rail_outcome import RailOutcome
from nemoguardrails.colang import parse_colang_file
from nemoguardrails.colang.v1_0.lang.utils import get_numbered_lines
from nemoguardrails.colang.v1_0.runtime.flows import FlowConfig, State, compute_next_state
from nemoguardrails.manifests import default_rail_catalog, parse_configured_surface, resolve_import_ref
from nemoguardrails.rails.llm.config import _join_config as join_config
from nemoguardrails.utils import _get_flow_params as flow_params
from nemoguardrails.utils import _normalize_flow_id as flow_id

from rails._colang.expressions import install

__all__ = [
    "LIBRARY", "ActionDispatcher", "ActionResult", "FlowConfig", "RailOutcome", "RailsConfig", "State",
    "compute_next_state", "default_rail_catalog", "flow_id", "flow_params", "get_numbered_lines", "join_config",
    "parse_colang_file", "parse_configured_surface", "resolve_import_ref",
]  # fmt: skip

_PACKAGE = Path(nemoguardrails.__file__).resolve().parent
LIBRARY = _PACKAGE / "library"

_loggers = logging.getLogger("nemoguardrails")
_loggers.setLevel(logging.CRITICAL + 1)
_loggers.propagate = False
_loggers.addHandler(logging.NullHandler())

_load = ActionDispatcher.load_actions_from_path


def _load_own_only(self: Any, path: Path) -> None:
    """What stands in for NeMo's loader: a folder that is not NeMo's own is passed over, whoever names it.

    A policy's own code is loaded by `rails._colang.code`, where the operator allows it.
    """
    if path.resolve().is_relative_to(_PACKAGE):
        _load(self, path)


ActionDispatcher.load_actions_from_path = _load_own_only
install()
