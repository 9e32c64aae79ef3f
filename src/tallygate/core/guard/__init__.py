"""What a tool that is about to run does to the gate's own files, as far as its words tell."""
