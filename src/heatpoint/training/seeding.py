"""Every random number of a run is a function of (seed, epoch, image) or (seed, step), so that a resumed run repeats it."""

from __future__ import annotations

import numpy as np
import torch

# What a stream of random numbers is for. Two purposes never share a stream.
ORDER, AUGMENTATION, LOSS, NETWORK, WEIGHTS = range(5)


def derive(seed: int, purpose: int, *key: int) -> int:
    """A seed of 63 bits for one purpose and key, unrelated to the seeds of others.

    >>> derive(0, LOSS, 7) == derive(0, LOSS, 7), derive(0, LOSS, 7) == derive(0, LOSS, 8)
    (True, False)
    """
    return int(np.random.SeedSequence([seed, purpose, *key]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def numpy_generator(seed: int, purpose: int, *key: int) -> np.random.Generator:
    """A NumPy generator for one purpose and key.

    >>> int(numpy_generator(0, ORDER, 3).integers(100)) == int(numpy_generator(0, ORDER, 3).integers(100))
    True
    """
    return np.random.default_rng(derive(seed, purpose, *key))


def torch_generator(device: torch.device, seed: int, purpose: int, *key: int) -> torch.Generator:
    """A torch generator on a device for one purpose and key.

    >>> torch_generator(torch.device("cpu"), 0, LOSS, 3).initial_seed() == derive(0, LOSS, 3)
    True
    """
    return torch.Generator(device).manual_seed(derive(seed, purpose, *key))
