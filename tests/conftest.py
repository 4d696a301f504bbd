"""One thread per test process: results do not depend on the machine, and two processes fit."""

import os

for _library in ("OMP", "OPENBLAS", "MKL"):  # read when numpy is loaded, which is not yet
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import torch  # noqa: E402

torch.set_num_threads(1)
