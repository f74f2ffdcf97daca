"""The readers of mel-spectrograms: tensors, orientation, data types."""

import io

import numpy as np
import pytest
from tensor_files import number, saved_tensor, tensor_pickle, text, torch_file

from melexp.files.mels import oriented, read_input
from melexp.files.sound import Audio
from melexp.files.torch_files import torch_arrays
from melexp.transforms.mel import MelTransform


@pytest.fixture(scope="module")
def hifigan() -> MelTransform:
    return MelTransform.preset("hifigan")


def test_tensors() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    for given in (array, array.T, array.astype(np.float32, order="F")):
        found = torch_arrays(saved_tensor(given))
        assert found.keys() == {""}
        np.testing.assert_array_equal(found[""](), given)
    content = b"}(" + text("mel") + tensor_pickle((3,), (1,), "FloatStorage", 3)
    content += text("step") + number(7) + b"u"
    found = torch_arrays(torch_file(content, np.arange(3, dtype=np.float32).tobytes()))
    np.testing.assert_array_equal(found["mel"](), [0, 1, 2])
    assert found.keys() == {"mel"}


def test_tensors_of_torch_itself() -> None:
    torch = pytest.importorskip("torch")
    array = np.random.default_rng(0).standard_normal((5, 80)).astype(np.float32)
    for tensor in (torch.from_numpy(array), torch.from_numpy(array).T, torch.tensor(array)[1:, 3:]):
        for kind in (torch.float32, torch.float64, torch.float16):
            buffer = io.BytesIO()
            torch.save({"mel": tensor.to(kind), "n": 1}, buffer)
            found = torch_arrays(buffer.getvalue())["mel"]()
            np.testing.assert_array_equal(found, tensor.to(kind).numpy())


def test_orientation(hifigan: MelTransform) -> None:
    mel = np.random.default_rng(0).standard_normal((80, 5))
    for given in (mel, mel.T):
        np.testing.assert_array_equal(oriented(given, hifigan), mel)
    square = np.random.default_rng(0).standard_normal((80, 80))
    np.testing.assert_array_equal(oriented(square, hifigan, "mels-first"), square)
    np.testing.assert_array_equal(oriented(square, hifigan, "frames-first"), square.T)


def test_whole_numbers_become_real() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ones((2, 3), np.int16))
    found = read_input(buffer.getvalue())
    assert not isinstance(found, Audio)
    assert found.dtype == np.float32
