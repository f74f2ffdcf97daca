"""From mel-spectrogram to waveform: the iteration driver and the one-call functions."""
