"""Round a trained reader to 8 bits, each row of a matrix with a scale of its own.

python -m training.reader.pack OUT/reader.safetensors models/reader/reader.safetensors
"""

import sys

from safetensors.torch import load_file, save_file

from longctx.models.encoder import rounded

if __name__ == "__main__":
    source, target = sys.argv[1:]
    save_file(rounded(load_file(source)), target)
