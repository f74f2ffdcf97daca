"""Everything read from or written to disk: sound, mels, archives, atomic writes, locks."""
