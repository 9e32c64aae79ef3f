"""The variables that say something to Tallygate, by what they stand for."""

from __future__ import annotations

from collections.abc import Mapping

from tallygate.clients.registry import REGISTRY
from tallygate.settings import sections

# Variables that stand for one key of a file, by section.
VARIABLES: Mapping[str, tuple[str, str]] = {
    name: path for path, each in sections.SCALARS.items() for name in each.variables
}
# The first name that is set counts; those of l6e-mcp keep working.
PATH_VARIABLES: Mapping[str, tuple[str, ...]] = {key: each.variables for key, each in sections.PATHS.items()}
(TENANT_VARIABLE,), (ZONE_VARIABLE,) = (sections.TOP[key].variables for key in ("tenant", "time_zone"))
USER_FILE_VARIABLES = ("TALLYGATE_CONFIG", "L6E_CONFIG_PATH")
PROJECT_VARIABLES = ("TALLYGATE_PROJECT_DIR", *REGISTRY.project_variables)
CALIBRATION_VARIABLES = ("TALLYGATE_CALIBRATION_FACTORS", "L6E_CALIBRATION_FACTORS")
# Where `import fetch` and `prices update` ask instead; read there, since nothing else reaches out.
ADDRESS_VARIABLES = (
    "TALLYGATE_ANTHROPIC_URL", "TALLYGATE_OPENAI_URL", "TALLYGATE_OPENROUTER_URL", "TALLYGATE_PRICES_URL",
)  # fmt: skip
# Where a system's programs look for a user's files.
SYSTEM_VARIABLES = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
# Where clients keep what they write: each names one more place to read.
CLIENT_VARIABLES = tuple(name for client in REGISTRY.clients.values() for name in client.variables)
# What would put other code or another clock into a program that is started.
LOADER_NAMES, LOADER_PREFIXES = ("LD_PRELOAD", "LD_AUDIT"), ("DYLD_", "PYTHON", "FAKETIME")
# Those among PYTHON... that can lead the interpreter to other code; the rest is left out in silence.
PYTHON_CODE = frozenset(
    {"PYTHONPATH", "PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONEXECUTABLE",
     "PYTHONWARNINGS", "PYTHONPYCACHEPREFIX", "PYTHONBREAKPOINT", "PYTHONINSPECT", "PYTHONCASEOK"}
)  # fmt: skip
KNOWN: frozenset[str] = frozenset(
    {
        *VARIABLES,
        *(name for names in PATH_VARIABLES.values() for name in names),
        *USER_FILE_VARIABLES,
        *PROJECT_VARIABLES,
        *CALIBRATION_VARIABLES,
        *ADDRESS_VARIABLES,
    }
)
