"""Pillow's bilinear resizing of MNIST's first 16 test pictures, to 20 and to 32 pixels.

    venv/bin/python resize.py t10k-images-idx3-ubyte.gz resize_pillow.safetensors
"""

import gzip
import pathlib
import sys

import numpy
import PIL
from PIL import Image
from safetensors.numpy import save_file


def main(pictures, out):
    raw = gzip.decompress(pathlib.Path(pictures).read_bytes())
    pictures = numpy.frombuffer(raw, numpy.uint8, offset=16).reshape(-1, 28, 28)[:16]
    resized = lambda size: numpy.stack(
        [numpy.asarray(Image.fromarray(picture).resize((size, size), Image.BILINEAR)) for picture in pictures]
    )
    tensors = {"in28": pictures, "out20": resized(20), "out32": resized(32)}
    save_file(tensors, out, metadata={"pillow": PIL.__version__, "filter": "BILINEAR"})


main(*sys.argv[1:])
