"""Bills that providers give out as files, one file a format."""
