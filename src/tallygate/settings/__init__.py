"""What the user has decided: files and environment, read once into one frozen value."""

from tallygate.settings.load import UserPlaces, load_settings, places, project_root
from tallygate.settings.model import (
    Durability,
    Keep,
    Ladder,
    LedgerSettings,
    LogLevel,
    OnFault,
    Paths,
    PolicySettings,
    PrivacySettings,
    ReadTranscripts,
    ResidentMode,
    Settings,
    StopPolicy,
    TelemetryMode,
)

__all__ = [
    "Durability",
    "Keep",
    "Ladder",
    "LedgerSettings",
    "LogLevel",
    "OnFault",
    "Paths",
    "PolicySettings",
    "PrivacySettings",
    "ReadTranscripts",
    "ResidentMode",
    "Settings",
    "StopPolicy",
    "TelemetryMode",
    "UserPlaces",
    "load_settings",
    "places",
    "project_root",
]
