"""From waveform to mel-spectrogram: STFT, filter bank, compression, and their conventions."""
