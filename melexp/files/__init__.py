"""Read and write files: sound, mel-spectrograms, archives, atomic writes and locks."""
