# %% [markdown]
# # The paper in ten minutes
#
# A mel-spectrogram keeps 80 numbers per frame of the 513 magnitudes of an STFT, and no phase. To
# invert it, both must be estimated. A *cascade* estimates the magnitude first and then its phase.
# The paper estimates both together, by ADMM. This page runs the methods on one embedded clip.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sounds import listen

from melexp import MelTransform, Problem, make_method, score, solve
from melexp.datasets import load_dataset

transform = MelTransform.preset("paper")  # the paper's: 22.05 kHz, n_fft 1024, hop 256, 80 bands
clip = load_dataset("demo_speech")[0]
y = clip.load(transform.sr)
mel = transform(y)
print(f"{clip.id}: {len(y) / transform.sr:.2f} s, mel-spectrogram of shape {mel.shape}")
listen("The original", y, transform.sr)

# %% [markdown]
# ## The problem
#
# \(E\) is the mel filter bank, \(C\) the set of spectrograms of a waveform, \(X\) the complex
# spectrogram and \(Y\) the magnitude. The paper solves
#
# .. math::
#     \min_{X \in C,\; Y \ge 0} \tfrac12 \||X| - Y\|^2 + \tfrac{\lambda}{2} \|M - E Y\|^2 .
#
# The first term ties the magnitude to the spectrogram, the second to the mel-spectrogram.
# [The page of the method](../methods/admm.md) has the updates.

# %%
figure, axes = plt.subplots(2, 1, figsize=(7, 4.2), sharex=True, layout="constrained")
stft = np.abs(transform.stft(len(y), dtype=np.float32).forward(y))
for ax, image, title in zip(axes, (stft, mel), ("STFT, 513 bins", "mel, 80 bands"), strict=True):
    decibels = 20 * np.log10(np.maximum(image, 1e-4 * image.max()) / image.max())
    ax.imshow(decibels, origin="lower", aspect="auto", cmap="magma")
    ax.set_title(title, loc="left")
axes[1].set_xlabel("frame")

# %% [markdown]
# ## The methods against iterations
#
# `solve` yields the waveform at chosen iterations. SCM is the error of the mel-spectrogram of the
# result, in dB; lower is better.

# %%
problem = Problem(mel, transform, length=len(y))
checkpoints = [1, 2, 5, 10, 20, 50, 100, 200]
results = {}
for name in ["gla", "fgla", "ipalm", "admm", "admm_ramp"]:
    points = list(solve(make_method(name), problem, checkpoints=checkpoints))
    results[name] = points[-1].signal
    scm = [score("scm", y, point.signal, transform=transform).value for point in points]
    plt.semilogx(checkpoints, scm, marker=".", label=name)
plt.xlabel("iteration")
plt.ylabel("SCM (dB)")
plt.legend()

# %% [markdown]
# The cascades `gla` and `fgla` stop early: their magnitude is fixed, so the phase has to fit its
# errors. The joint methods continue. `admm_ramp` starts closer and ends with the lowest error.

# %% [markdown]
# ## The quality of each

# %%
print(f"{'method':10} {'SCM dB':>7} {'SC dB':>7} {'PESQ':>5} {'ESTOI':>6}")
for name, z in results.items():
    scm, sc, pesq, estoi = (
        score(metric, y, z, transform=transform).value for metric in ("scm", "sc", "pesq", "estoi")
    )
    print(f"{name:10} {scm:7.1f} {sc:7.1f} {pesq:5.2f} {estoi:6.3f}")

# %% [markdown]
# ## Listen

# %%
for name in ["gla", "ipalm", "admm", "admm_ramp"]:
    listen(f"{name}, 200 iterations", results[name], transform.sr)

# %% [markdown]
# One clip says little: another start alone moves its SCM by some dB. [Results](../results.md) has
# 32 recordings of speech and 60 of foley, with three seeds each.
