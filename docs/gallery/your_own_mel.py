# %% [markdown]
# # Your own mel
#
# Three steps invert a mel-spectrogram of any front end: describe the front end, check the
# description on a recording, invert. This page uses librosa's dB mel-spectrogram.

# %%
import librosa
import matplotlib.pyplot as plt
import numpy as np
from sounds import listen

from melexp import Compression, MelTransform, invert, score
from melexp.datasets import load_dataset

y = load_dataset("demo_speech")[6].load(16000)
power = librosa.feature.melspectrogram(y=y, sr=16000, n_fft=512, hop_length=128, n_mels=64)
mine = librosa.power_to_db(power, ref=1.0, top_db=None)
print(mine.shape, f"{mine.min():.1f} to {mine.max():.1f} dB")

# %% [markdown]
# ## 1. Describe the front end
#
# `MelTransform` has the arguments of `librosa.feature.melspectrogram`. `Compression` describes the
# logarithm. A [preset](../presets.md) does this for common front ends.

# %%
transform = MelTransform.preset(
    "paper",
    sr=16000,
    n_fft=512,
    hop_length=128,
    n_mels=64,
    fmax=None,  # half the sampling rate
    power=2.0,
    compression=Compression(unit="power_db", floor=1e-10),
)

# %% [markdown]
# ## 2. Check the description
#
# The transform of a recording must equal the front end's own output. If it does not, the inversion
# cannot be right.

# %%
difference = np.abs(transform(y) - mine)
print(f"largest difference: {difference.max():.4f} dB")
assert np.allclose(transform(y), mine, atol=0.01)

# %% [markdown]
# ## 3. Invert

# %%
z = invert(mine, transform, n_iter=100, length=len(y))
for metric in ("scm", "sc", "pesq", "estoi"):
    print(f"{metric:6} {score(metric, y, z, transform=transform).value:8.3f}")
listen("The original", y, 16000)
listen("From its mel-spectrogram", z, 16000)

# %%
figure, axes = plt.subplots(2, 1, figsize=(7, 4.2), sharex=True, layout="constrained")
for ax, image, title in zip(axes, (mine, transform(z)), ("given", "of the result"), strict=True):
    ax.imshow(image, origin="lower", aspect="auto", cmap="magma", vmin=mine.max() - 80)
    ax.set_title(f"mel-spectrogram, {title}", loc="left")
axes[1].set_xlabel("frame")

# %% [markdown]
# ## A description that is wrong
#
# This transform has the mel formula of HTK instead of Slaney's. The check fails, and the result
# shows the error: compare its measures with those above.

# %%
wrong = MelTransform(**{**transform.settings(), "htk": True})
print(f"largest difference: {np.abs(wrong(y) - mine).max():.1f} dB")
bad = invert(mine, wrong, n_iter=100, length=len(y))
print(f"SC {score('sc', y, bad, transform=transform).value:.1f} dB")
listen("With the wrong mel formula", bad, 16000)
