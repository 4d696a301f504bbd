"""Spectrograms of real spoken digits, as a user would make them."""

from __future__ import annotations

import numpy as np
from scipy.io import wavfile
from scipy.signal import stft

from seqprobe.data import folder

STEPS, BANDS = 24, 40


def spectrograms(takes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return log spectrograms (N, 24, 40) of two speakers, 16 ms per step, and digits (N,)."""
    rows, said = [], []
    for digit in range(10):
        for speaker in ("george", "jackson"):
            for take in range(takes):
                path = folder() / "fsdd" / f"{digit}_{speaker}_{take}.wav"
                rate, samples = wavfile.read(path)
                _, _, waves = stft(samples / 2**15, rate, nperseg=256, noverlap=128)
                power = np.abs(waves[1:121]).reshape(BANDS, 3, -1).mean(axis=1).T[:STEPS]
                rows.append(np.pad(np.log1p(100 * power), ((0, STEPS - len(power)), (0, 0))))
                said.append(digit)
    return np.stack(rows).astype(np.float32), np.array(said)
