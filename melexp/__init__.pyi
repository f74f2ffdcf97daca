from melexp.batch import invert_batch as invert_batch
from melexp.inspection.inspect import inspect as inspect
from melexp.inversion.griffinlim import griffinlim as griffinlim
from melexp.inversion.invert import invert as invert
from melexp.inversion.librosa_compat import mel_to_audio as mel_to_audio
from melexp.inversion.librosa_compat import mel_to_stft as mel_to_stft
from melexp.inversion.mfcc import mfcc_to_audio as mfcc_to_audio
from melexp.inversion.mfcc import mfcc_to_mel as mfcc_to_mel
from melexp.inversion.solve import Checkpoint as Checkpoint
from melexp.inversion.solve import solve as solve
from melexp.inversion.stream import MelStream as MelStream
from melexp.methods import Stop as Stop
from melexp.methods import available_methods as available_methods
from melexp.methods import make_method as make_method
from melexp.metrics import score as score
from melexp.problem import Problem as Problem
from melexp.start import mel_to_magnitude as mel_to_magnitude
from melexp.transforms.compression import Compression as Compression
from melexp.transforms.mel import MelTransform as MelTransform
from melexp.transforms.restore import MelError as MelError
from melexp.transforms.restore import restore_mel as restore_mel

__version__: str
__all__: list[str]
