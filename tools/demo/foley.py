"""Physically inspired synthesis of the embedded foley from a seed; `make_demo.py` stores it."""

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

SR = 22050
SEED = 20230607

# --- Parts of sounds ------------------------------------------------------------------------


def seconds(duration: float) -> np.ndarray:
    """Return the times of the samples of a sound, in seconds."""
    return np.arange(round(duration * SR)) / SR


def band(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Apply a band-pass (second order at each side), or a high-pass for a high ``high``."""
    if high >= 0.49 * SR:
        return sosfilt(butter(2, low, "highpass", fs=SR, output="sos"), x)
    return sosfilt(butter(2, [low, high], "bandpass", fs=SR, output="sos"), x)


def noise(rng: np.random.Generator, duration: float, low: float, high: float) -> np.ndarray:
    """Return band-limited Gaussian noise with unit RMS."""
    x = band(rng.standard_normal(round(duration * SR)), low, high)
    return x / np.sqrt(np.mean(x**2))


def decay(duration: float, t60: float, attack: float = 0.0005) -> np.ndarray:
    """Return the envelope of an impact: a short rise, then a decay of 60 dB in ``t60`` seconds."""
    t = seconds(duration)
    return np.minimum(t / attack, 1.0) * 10.0 ** (-3.0 * t / t60)


def modal(
    rng: np.random.Generator, duration: float, freqs: np.ndarray, t60: np.ndarray, tilt: float
) -> np.ndarray:
    """Synthesise a struck body: damped modes of random phase and amplitude ``freq ** -tilt``."""
    t = seconds(duration)[:, None]
    gains = (freqs / freqs[0]) ** -tilt * rng.uniform(0.5, 1.0, freqs.size)
    phases = rng.uniform(0, 2 * np.pi, freqs.size)
    x = gains * np.sin(2 * np.pi * freqs * t + phases) * 10.0 ** (-3.0 * t / t60)
    return x.sum(axis=1) * np.minimum(t[:, 0] / 0.0003, 1.0)


def formants(x: np.ndarray, peaks: list[tuple[float, float, float]], direct: float) -> np.ndarray:
    """Filter with a vocal tract: parallel resonators (frequency, bandwidth, gain), direct path."""
    y = direct * x
    for freq, bandwidth, gain in peaks:
        r = np.exp(-np.pi * bandwidth / SR)
        a = [1.0, -2 * r * np.cos(2 * np.pi * freq / SR), r * r]
        y = y + lfilter([gain * (1 - r), 0.0, -gain * (1 - r)], a, x)
    return y


def glottis(
    rng: np.random.Generator, f0: np.ndarray, tilt: float, jitter: float = 0.01
) -> np.ndarray:
    """Synthesise a voice source: harmonics of ``f0`` (Hz, per sample), with slow jitter."""
    wander = sosfilt(butter(1, 60, fs=SR, output="sos"), rng.standard_normal(f0.size))
    f0 = f0 * (1 + jitter * wander / max(float(np.std(wander)), 1e-9))
    phase = 2 * np.pi * np.cumsum(f0) / SR
    x = np.zeros(f0.size)
    for k in range(1, int(0.49 * SR / f0.min()) + 1):
        x += (k * f0 < 0.49 * SR) * k**-tilt * np.cos(k * phase)
    return x


def curve(duration: float, *points: tuple[float, float]) -> np.ndarray:
    """Return a piecewise linear curve through (relative time, value), slightly smoothed."""
    at, value = zip(*points, strict=True)
    x = np.interp(np.linspace(0, 1, round(duration * SR)), at, value)
    width = max(int(0.01 * SR), 1)
    return np.convolve(np.pad(x, width, mode="edge"), np.ones(width) / width, "same")[width:-width]


def add(out: np.ndarray, at: float, x: np.ndarray, gain: float = 1.0) -> None:
    """Mix a sound into another in place, from a time in seconds; cut it at the end."""
    start = int(at * SR)
    x = x[: max(out.size - start, 0)]
    out[start : start + x.size] += gain * x


def room(rng: np.random.Generator, x: np.ndarray, t60: float, wet: float) -> np.ndarray:
    """Add early reflections and a diffuse tail whose treble decays first."""
    t = seconds(1.2 * t60)
    tail = rng.standard_normal(t.size) * 10.0 ** (-3 * t / t60)
    dark = sosfilt(butter(1, 2500, fs=SR, output="sos"), rng.standard_normal(t.size))
    response = 0.3 * tail * np.exp(-6 * t / t60) + dark * 10.0 ** (-3 * t / t60)
    response[: int(0.012 * SR)] = 0.0
    response *= wet / np.sqrt(np.sum(response**2))
    response[0] = 1.0
    for delay in rng.uniform(0.002, 0.03, 7):
        response[int(delay * SR)] += wet * rng.uniform(-0.5, 0.5)
    return fftconvolve(x, response)[: x.size]


def ambience(rng: np.random.Generator, n: int, level: float) -> np.ndarray:
    """Return quiet background noise with a slope of about -4 dB per octave and RMS ``level``."""
    white = rng.standard_normal(n)
    x = sosfilt(butter(1, 120, fs=SR, output="sos"), white) * 4 + 0.15 * white
    return level * x / np.sqrt(np.mean(x**2))


# --- Foley ----------------------------------------------------------------------------------


def bark(rng: np.random.Generator, duration: float, f0: float, size: float) -> np.ndarray:
    """Synthesise a bark: a rough voice with a rising and falling pitch, then breath."""
    pitch = curve(duration, (0, 0.75 * f0), (0.25, 1.25 * f0), (0.5, 1.1 * f0), (1, 0.55 * f0))
    voice = glottis(rng, pitch, tilt=0.7, jitter=0.008)
    # At high pressure every second period of the vocal folds differs, and turbulence adds noise.
    rough = 1 + 0.5 * np.cos(np.pi * np.cumsum(pitch) / SR)
    air = noise(rng, duration, 600, 9000) * curve(duration, (0, 1.6), (0.15, 0.5), (1, 0.7))
    source = np.tanh(rough * voice) + 0.15 * air
    peaks = [(620, 140, 1.0), (1350, 200, 0.9), (2700, 320, 0.6), (4300, 500, 0.35)]
    x = formants(source, [(f / size, b / size, g) for f, b, g in peaks], direct=0.08)
    x += 0.02 * air
    return x * curve(duration, (0, 0), (0.08, 1), (0.4, 0.8), (0.75, 0.25), (1, 0))


def dog_bark(rng: np.random.Generator, large: bool) -> np.ndarray:
    """Synthesise a large dog in a yard, or a small dog indoors, with four to five barks."""
    out = np.zeros(int((3.2 if large else 2.8) * SR))
    starts = [0.15, 0.62, 1.5, 2.05] if large else [0.1, 0.4, 0.68, 1.45, 1.75]
    for start in starts:
        length = rng.uniform(0.24, 0.3) if large else rng.uniform(0.13, 0.18)
        f0 = rng.uniform(210, 250) if large else rng.uniform(560, 700)
        call = bark(rng, length, f0, 1.1 if large else 0.72)
        add(out, start + rng.uniform(0, 0.03), call, rng.uniform(0.7, 1))
    out = room(rng, out, 0.9 if large else 0.4, 0.35)
    return out / np.abs(out).max() + ambience(rng, out.size, 0.002)


def footstep(rng: np.random.Generator, gravel: bool) -> np.ndarray:
    """Synthesise steps: hard soles on a wooden floor, or boots on gravel."""
    out = np.zeros(int((3.4 if gravel else 3.0) * SR))
    boards = np.sort(rng.uniform(70, 900, 14))
    for step in range(5):
        start = 0.15 + step * (0.62 if gravel else 0.55) + rng.uniform(-0.02, 0.02)
        weight = rng.uniform(0.75, 1.0)
        if gravel:
            add(out, start, noise(rng, 0.2, 60, 250) * decay(0.2, 0.12, 0.01), 0.12 * weight)
            press = curve(0.42, (0, 0), (0.08, 1), (0.3, 0.35), (0.5, 0.8), (0.8, 0.3), (1, 0))
            for at in np.flatnonzero(rng.random(press.size) < 0.045 * press) / SR:
                low = rng.uniform(1200, 5000)
                grain = noise(rng, 0.02, low, 2.2 * low) * decay(0.02, rng.uniform(0.006, 0.02))
                add(out, start + at, grain, weight * 0.08 * rng.pareto(2.5))
        else:
            for lag, gain in ((0.0, 1.0), (rng.uniform(0.09, 0.12), 0.45)):
                body = modal(rng, 0.35, boards * rng.uniform(0.97, 1.03), 22 / boards, 0.5)
                sole = noise(rng, 0.05, 900, 8000) * decay(0.05, 0.025)
                add(out, start + lag, body, 0.3 * gain * weight)
                add(out, start + lag, sole, 0.5 * gain * weight)
            scuff = noise(rng, 0.12, 2500, 9500) * curve(0.12, (0, 0), (0.4, 1), (1, 0))
            add(out, start + 0.13, scuff, 0.035 * weight)
    out = room(rng, out, 0.25 if gravel else 0.7, 0.1 if gravel else 0.4)
    return out / np.abs(out).max() + ambience(rng, out.size, 0.003 if gravel else 0.0015)


def gunshot(rng: np.random.Generator, rifle: bool) -> np.ndarray:
    """Synthesise two pistol shots in a hall, or a rifle shot outdoors with echoes."""

    def blast(width: float, t60: float) -> np.ndarray:
        t = seconds(1.2)
        friedlander = (1 - t / width) * np.exp(-t / width)  # the pressure wave of a blast
        gas = noise(rng, 1.2, 80, SR) * (decay(1.2, t60) + 0.08 * decay(1.2, 4 * t60))
        boom = noise(rng, 1.2, 30, 160) * decay(1.2, 5 * t60, 0.004)
        return friedlander + 0.5 * gas + 0.2 * boom

    out = np.zeros(int((3.5 if rifle else 2.8) * SR))
    if not rifle:
        for start in (0.2, 1.25):
            add(out, start, blast(0.0012, 0.09))
        out = room(rng, out, 1.1, 0.8)
    else:
        n_wave = np.interp(seconds(0.0011), [0, 5e-5, 0.00095, 0.0011], [0, 1, -1, 0])
        add(out, 0.2, n_wave, 0.8)
        add(out, 0.2, noise(rng, 0.06, 2000, SR) * decay(0.06, 0.05), 0.25)
        add(out, 0.31, blast(0.002, 0.14))
        dry = room(rng, out, 0.5, 0.25)
        out = dry.copy()
        for delay in (0.34, 0.61, 0.95, 1.3, 1.8):  # hillsides: later, darker and more diffuse
            cutoff = 2600 / (1 + 1.6 * delay)
            smear = fftconvolve(dry, rng.standard_normal(int(0.12 * delay * SR)))[: dry.size]
            echo = sosfilt(butter(2, cutoff, fs=SR, output="sos"), smear)
            add(out, delay, echo, 0.4 * np.exp(-1.2 * delay) / np.abs(echo).max())
    return np.tanh(2.0 * out / np.abs(out).max()) + ambience(rng, out.size, 0.002)


def keyboard(rng: np.random.Generator, clicky: bool) -> np.ndarray:
    """Synthesise typing: each key sounds when pressed and, more softly, when released."""
    out = np.zeros(int(3.0 * SR))
    case = np.sort(rng.uniform(150, 2600, 16))
    start = 0.12
    while start < 2.75:
        space = rng.random() < 0.15
        force = rng.uniform(0.5, 1.0)
        cap = np.sort(rng.uniform(1800, 8500, 9)) * (0.6 if space else 1.0)
        for lag, gain in ((0.0, 1.0), (rng.uniform(0.07, 0.11), 0.4)):
            if clicky:  # the jacket snaps a few milliseconds before the key lands
                snap = modal(rng, 0.03, np.array([4100.0, 5600, 7900]), np.full(3, 0.012), 0)
                add(out, start + lag - 0.006, snap, 0.35 * gain)
            plate = modal(rng, 0.15, case * rng.uniform(0.95, 1.05), 14 / case, 0.35)
            shell = modal(rng, 0.05, cap, 60 / cap, 0.0)
            touch = noise(rng, 0.02, 1500, SR) * decay(0.02, 0.008)
            dull = 0.35 if clicky else 0.2
            for sound, part in ((plate, 0.25), (shell, dull), (touch, 0.3)):
                add(out, start + lag, sound, part * gain * force)
        pause = 0.25 if rng.random() < 0.12 else 0.0
        start += rng.uniform(0.09, 0.19) + pause
    out = room(rng, out, 0.3, 0.2)
    return out / np.abs(out).max() + ambience(rng, out.size, 0.003)


def engine(rng: np.random.Generator, rpm: np.ndarray, cylinders: int, pipe: float) -> np.ndarray:
    """Synthesise a four-stroke engine: one gas pulse per firing, filtered by an exhaust pipe."""
    cycle = np.cumsum(rpm / 120) / SR  # two turns, in which every cylinder fires once
    firing = np.floor(cycle * cylinders).astype(int)
    fraction = cycle * cylinders - firing
    strength = rng.uniform(0.8, 1.0, cylinders)[firing % cylinders]
    strength = strength * (1 + 0.05 * rng.standard_normal(firing.max() + 1))[firing]
    pulse = strength * (1 - np.exp(-30 * fraction)) * np.exp(-7 * fraction)
    gas = strength * np.exp(-4 * fraction) * noise(rng, rpm.size / SR, 400, 9500)
    lag = round(2 * pipe / 340 * SR)  # closed at the engine, open at the end: odd resonances
    a = np.zeros(lag + 2)
    a[0], a[lag], a[lag + 1] = 1.0, 0.3, 0.2
    x = lfilter([1.0], a, pulse + 0.02 * gas)
    # An open end radiates the change of the flow: 6 dB per octave up to about 1 kHz.
    x = band(x, 60, SR) + 1.5 * band(x, 900, SR)
    return np.tanh(1.2 * x / np.std(x) / 2)


def moving_motor_vehicle(rng: np.random.Generator, motorcycle: bool) -> np.ndarray:
    """Synthesise a passing car, or a motorcycle that starts and changes gear twice."""
    duration = 3.6 if motorcycle else 4.0
    t = seconds(duration)
    if motorcycle:
        rpm = np.interp(
            t,
            [0, 1.25, 1.4, 2.4, 2.55, duration],
            [2200, 8600, 5200, 9000, 6300, 9000],
        )
        load = np.interp(
            t, [0, 0.1, 1.22, 1.28, 1.4, 2.38, 2.43, 2.55], [0.5, 1, 1, 0.3, 1, 1, 0.3, 1]
        )
        x = engine(rng, rpm * (1 + 0.006 * np.sin(2 * np.pi * 5.3 * t)), 4, 0.9)
        out = x * load / np.sqrt(1 + 0.25 * t**2)
        wind = noise(rng, duration, 150, 6000) * np.interp(t, [0, duration], [0.02, 0.1])
        out = room(rng, out + wind, 0.5, 0.2)
    else:
        speed, nearest, sound = 19.0, 4.0, 343.0  # m/s, m, m/s
        distance = np.sqrt(nearest**2 + (speed * (t - 1.9)) ** 2)
        emitted = t + (distance.max() - distance) / sound  # Doppler effect
        length = emitted.max() + 0.01
        x = engine(rng, np.full(seconds(length).size, 2600.0), 4, 1.6)
        tyres = noise(rng, length, 500, 1600) + 0.5 * noise(rng, length, 1500, SR)
        tyres *= 1 + 0.15 * np.sin(2 * np.pi * 11 * seconds(length))
        car = np.interp(emitted * SR, np.arange(x.size), 0.6 * x + 0.35 * tyres)
        # Air absorbs the treble of distant sound: mix a near and a far version by distance.
        far = sosfilt(butter(1, 1500, fs=SR, output="sos"), car)
        near = nearest / distance
        out = room(rng, (near * car + (1 - near) * far) * near, 0.4, 0.15)
    return out / np.abs(out).max() + ambience(rng, out.size, 0.004)


def rain(rng: np.random.Generator, roof: bool) -> np.ndarray:
    """Synthesise rain on puddles, or heavy rain on a metal roof."""
    duration = 3.0
    out = (0.05 if roof else 0.12) * noise(rng, duration, 700, SR)
    out *= 1 + 0.15 * np.interp(seconds(duration), np.linspace(0, 3, 12), rng.standard_normal(12))
    if roof:
        out += 0.03 * noise(rng, duration, 200, 1800)
    panel = np.sort(rng.uniform(250, 6500, 24))
    for at in rng.uniform(0, duration, 1100 if roof else 700):
        gain = min(0.08 * rng.pareto(1.8), 1.2)
        add(out, at, noise(rng, 0.004, 2000, SR) * decay(0.004, 0.004), 0.6 * gain)
        if roof:
            struck = panel[rng.random(panel.size) < 0.4] * rng.uniform(0.97, 1.03)
            add(out, at, modal(rng, 0.08, struck, 45 / struck, 0.2), 0.25 * gain)
        else:
            # A bubble caught under the surface rings at its Minnaert frequency, which rises
            # a little as it nears the surface; large drops make large, low bubbles.
            freq = 1200 * (1 + 6 * rng.random()) / (1 + gain)
            late = seconds(0.06)
            ring = np.sin(2 * np.pi * freq * late * (1 + 1.5 * late)) * decay(0.06, 90 / freq)
            add(out, at + rng.uniform(0.001, 0.006), ring, 0.9 * gain)
    return out / np.abs(out).max() + ambience(rng, out.size, 0.004)


def cough(rng: np.random.Generator, duration: float, f0: float) -> np.ndarray:
    """Synthesise a cough: the burst of the glottis, an air stream, and a voiced end."""
    burst = noise(rng, duration, 150, 9000) * decay(duration, 0.11, 0.002)
    stream = noise(rng, duration, 500, 8000)
    stream *= curve(duration, (0, 0), (0.06, 0.6), (0.5, 0.3), (0.8, 0.12), (1, 0))
    pitch = curve(duration, (0, 1.3 * f0), (0.4, 1.1 * f0), (1, 0.7 * f0))
    voice = glottis(rng, pitch, tilt=0.9, jitter=0.02)
    voice *= curve(duration, (0, 0.15), (0.1, 0.1), (0.3, 0.3), (0.6, 0.3), (1, 0))
    peaks = [(650, 120, 1.0), (1250, 160, 0.8), (2600, 250, 0.6), (3800, 350, 0.5)]
    return formants(1.6 * burst + stream + 1.6 * voice, peaks, direct=0.12)


def sneeze(rng: np.random.Generator) -> np.ndarray:
    """Synthesise a sneeze: two inhalations, the burst, and a falling vowel."""
    out = np.zeros(int(2.6 * SR))
    open_mouth = [(800, 120, 1.0), (1250, 150, 0.7), (2700, 260, 0.4)]
    for start, length, gain in ((0.1, 0.35, 0.2), (0.65, 0.5, 0.35)):
        voice = glottis(rng, curve(length, (0, 210), (1, 290)), tilt=1.3)
        breath = noise(rng, length, 500, 7000)
        swell = curve(length, (0, 0), (0.7, 1), (0.92, 0.8), (1, 0))
        add(out, start, formants(0.35 * voice + 0.6 * breath, open_mouth, 0.06) * swell, gain)
    hiss = formants(noise(rng, 0.5, 900, SR), [(2900, 700, 1.0), (5200, 1400, 1.0)], 0.25)
    add(out, 1.25, hiss * curve(0.5, (0, 0), (0.05, 1), (0.3, 0.6), (0.6, 0.2), (1, 0)), 0.9)
    add(out, 1.25, noise(rng, 0.12, 60, 500) * decay(0.12, 0.1, 0.003), 0.35)
    voice = glottis(rng, curve(0.5, (0, 330), (0.3, 270), (1, 170)), tilt=1.0)
    lips = formants(
        voice + 0.1 * noise(rng, 0.5, 500, 8000), [(380, 90, 1.0), (950, 130, 0.6)], 0.03
    )
    add(out, 1.36, lips * curve(0.5, (0, 0), (0.2, 1), (0.6, 0.5), (1, 0)), 0.35)
    return out


def sneeze_cough(rng: np.random.Generator, sneezing: bool) -> np.ndarray:
    """Synthesise a sneeze, or three coughs, in a small room."""
    if sneezing:
        out = sneeze(rng)
    else:
        out = np.zeros(int(2.4 * SR))
        for start, gain in ((0.12, 0.8), (0.58, 1.0), (1.35, 0.7)):
            add(out, start, cough(rng, rng.uniform(0.34, 0.42), rng.uniform(140, 175)), gain)
    out = room(rng, out, 0.4, 0.25)
    return out / np.abs(out).max() + ambience(rng, out.size, 0.0015)


FOLEY: dict[str, Callable[[np.random.Generator, bool], np.ndarray]] = {
    "dog_bark": dog_bark,
    "footstep": footstep,
    "gunshot": gunshot,
    "keyboard": keyboard,
    "moving_motor_vehicle": moving_motor_vehicle,
    "rain": rain,
    "sneeze_cough": sneeze_cough,
}


def make_foley(category: str, variant: int) -> np.ndarray:
    """Make a foley clip in its stored form.

    Parameters
    ----------
    category : str
        A key of ``FOLEY``.
    variant : {0, 1}
        Variant of the category.

    Returns
    -------
    np.ndarray [shape=(n_samples,), int16]
        Samples at ``SR``, identical on every run and in any order of the clips.
    """
    rng = np.random.default_rng([SEED, sorted(FOLEY).index(category), variant])
    return to_int16(rng, FOLEY[category](rng, bool(variant)))


def to_int16(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Fade the ends, set the peak to -3 dBFS and quantise, with triangular dither."""
    ramp = np.minimum(np.arange(x.size) / (0.01 * SR), 1.0)
    x = x * ramp * ramp[::-1]
    x = 10 ** (-3 / 20) * x / np.abs(x).max()
    # The dither keeps every band above exact silence, as in any recording.
    dither = rng.random(x.size) - rng.random(x.size)
    return np.rint(32767 * x + dither).astype(np.int16)
