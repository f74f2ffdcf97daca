"""Front ends: STFT, mel filter bank and compression, with the conventions of common libraries."""
