"""The variables that say something to Tallygate, by what they stand for."""

from __future__ import annotations

from collections.abc import Mapping

from tallygate.clients.registry import REGISTRY

TENANT_VARIABLE = "TALLYGATE_TENANT"
ZONE_VARIABLE = "TALLYGATE_TIME_ZONE"
# Variables that stand for one key of a file, by section.
VARIABLES: Mapping[str, tuple[str, str]] = {
    "TALLYGATE_CURRENCY": ("", "currency"),
    ZONE_VARIABLE: ("", "time_zone"),
    "TALLYGATE_LOG_LEVEL": ("", "log_level"),
    TENANT_VARIABLE: ("", "tenant"),
    "TALLYGATE_REROUTE_THRESHOLD": ("policy", "reroute_threshold"),
    "TALLYGATE_WARN_THRESHOLD": ("policy", "warn_threshold"),
    "TALLYGATE_BUDGET_MODE": ("policy", "budget_mode"),
    "TALLYGATE_ON_FAULT": ("policy", "on_fault"),
    "TALLYGATE_EXPIRE_AS": ("policy", "expire_as"),
    "TALLYGATE_RESERVATION_TTL_MINUTES": ("policy", "reservation_ttl_minutes"),
    "TALLYGATE_ABANDON_AFTER_MINUTES": ("policy", "abandon_after_minutes"),
    "TALLYGATE_LOCAL_MODEL": ("policy", "local_model"),
    "TALLYGATE_UNKNOWN_PRICE": ("policy", "unknown_price"),
    "TALLYGATE_DURABILITY": ("ledger", "durability"),
    "TALLYGATE_LOCK_TIMEOUT_MS": ("ledger", "lock_timeout_ms"),
    "TALLYGATE_RETENTION_DAYS": ("ledger", "retention_days"),
    "TALLYGATE_TASK_SUMMARIES": ("privacy", "task_summaries"),
    "TALLYGATE_TRANSCRIPTS": ("usage", "transcripts"),
    "TALLYGATE_TELEMETRY": ("usage", "telemetry"),
    "TALLYGATE_TELEMETRY_PORT": ("usage", "telemetry_port"),
}
# The first name that is set counts; those of l6e-mcp keep working.
PATH_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "data_dir": ("TALLYGATE_HOME",),
    "database": ("TALLYGATE_DB", "L6E_SESSION_DB_PATH"),
    "key_dir": ("TALLYGATE_KEY_DIR",),
    "run_log": ("TALLYGATE_LOG_PATH", "L6E_LOG_PATH"),
}
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
