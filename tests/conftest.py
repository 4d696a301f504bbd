"""One thread per test process: results do not depend on the machine, and two processes fit."""

import torch

torch.set_num_threads(1)
