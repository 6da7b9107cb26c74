"""Training and its evidence: data in, artifact and honest figures out."""
