"""Examination of a mel-spectrogram before it is inverted: what it is, and what it cannot be."""

from melexp.errors import MelWarning as MelWarning
from melexp.inspection.check import doubts as doubts
from melexp.inspection.check import warn as warn
