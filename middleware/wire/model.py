"""A published model, by digest: its segments, its side branches, what each way of running it was measured to give.

The SHA-256 of these bytes is the model's root: it is what the ledger registers, what an edge states in each offer, and from it
every file follows by its own digest. So who has the root can fetch the rest from anybody, and knows at once what is wrong.

A *way* of running the model has a short name, written into the table of what was measured on validation samples:

    raw, png, jpeg95, jpeg75    the input goes up like that, and the server runs everything
    f32@K, f16@K, u8@K, u4@K    segments [0, K) run in front, and what crosses is coded like that
    bottleneck@K                likewise, through the pair of coders trained for that border
    exit@K                      the branch behind segment K - 1 answers: of those that reach it and that it is sure enough of
    device+exits, CODEC@K+exits every branch in front of the border is asked, and who leaves at none goes on: of all samples

Work is billed in units, from this table and the plan alone, never by the clock of who is paid: a unit is `unit_macs`
multiply-accumulates run above the device, rounded up once a request.
"""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise
from typing import Annotated, ClassVar, Final, Literal

import msgspec

from middleware.errors import PeerFault, require
from middleware.wire import canonical
from middleware.wire.commitment import require_bytes, require_unsigned

MODEL_BYTES: Final = 1 << 20  # of one manifest
MOST_SEGMENTS: Final = 64
MOST_SIZES: Final = 6  # of one tensor, the batch among them
MOST_NUMBERS: Final = (1 << 22) - (1 << 14)  # in one tensor that crosses: as float32 it fits `Limits.tensor_bytes`
MOST_CLASSES: Final = 65_536
UPLOADS: Final = ("raw", "png", "jpeg95", "jpeg75")  # ways to send the input; the first two lose nothing
LOSSLESS: Final = ("raw", "png")
CODECS: Final = ("f32", "f16", "u8", "u4")  # ways to send what crosses a border

Shape = Annotated[tuple[int, ...], msgspec.Meta(max_length=MOST_SIZES)]


class File(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An ONNX file by its SHA-256."""

    digest: bytes
    length: int  # bytes

    def __post_init__(self) -> None:
        require_bytes("digest of a file", self.digest, 32)
        require_unsigned("length of a file", self.length, 32)

    @classmethod
    def of(cls, data: bytes) -> File:
        return cls(hashlib.sha256(data).digest(), len(data))


class FileRequest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A node asks its parent for a file of a published model. `user` is the account that holds the licence."""

    code: ClassVar[int] = 9
    sender: int
    sequence: int
    digest: bytes
    user: bytes

    def __post_init__(self) -> None:
        require_unsigned("sender", self.sender, 32)
        require_unsigned("sequence", self.sequence, 64)
        require_bytes("digest", self.digest, 32)
        require_bytes("user", self.user, 20)


class Segment(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One link of the chain; shapes are of one sample, without the batch."""

    file: File
    taken: Shape
    given: Shape
    macs: int
    parameters: int

    def __post_init__(self) -> None:
        for shape in (self.taken, self.given):
            sound = bool(shape) and all(size > 0 for size in shape) and math.prod(shape) <= MOST_NUMBERS
            require(sound, f"a tensor of shape {shape}: sizes above 0, at most {MOST_NUMBERS} numbers")
        require_unsigned("multiply-accumulates", self.macs, 63)
        require_unsigned("parameters", self.parameters, 63)


class Branch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A classifier behind segment `after` - 1. Its answer counts where the entropy of its probabilities, in nats, is below
    `threshold`; the logits are divided by `temperature` first, which was fitted on validation samples."""

    after: int
    file: File
    macs: int
    threshold: float
    temperature: float
    rate: float  # the share that it answered of the validation samples that reached it

    def __post_init__(self) -> None:
        require_unsigned("multiply-accumulates", self.macs, 63)
        require(
            self.threshold >= 0 and 0 < self.temperature < math.inf,
            "a branch has a threshold and a temperature above 0",
        )
        require(0 <= self.rate <= 1, f"rate {self.rate}: a share")


class Coders(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A trained pair around the border behind segment `after` - 1: the encoder's output of shape `given` crosses, coded as
    `codec`."""

    after: int
    encoder: File
    decoder: File
    given: Shape
    codec: Literal["f32", "f16", "u8", "u4"]
    encoder_macs: int
    decoder_macs: int


class Measured(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a way of running the model gave on validation samples."""

    way: str
    accuracy: float
    bytes: int  # that crossed, the mean over the samples, rounded up

    def __post_init__(self) -> None:
        require(0 <= self.accuracy <= 1, f"accuracy {self.accuracy} of {self.way}: a share")
        require_unsigned("bytes", self.bytes, 32)


class ModelManifest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Everything that a published model is."""

    name: str
    kind: Literal["image", "tensor"]  # image: samples are uint8 (height, width, 3), scaled as `scale` says
    classes: Annotated[tuple[str, ...], msgspec.Meta(max_length=MOST_CLASSES)]
    segments: Annotated[tuple[Segment, ...], msgspec.Meta(min_length=1, max_length=MOST_SEGMENTS)]
    branches: Annotated[tuple[Branch, ...], msgspec.Meta(max_length=MOST_SEGMENTS)] = ()
    coders: Annotated[tuple[Coders, ...], msgspec.Meta(max_length=MOST_SEGMENTS)] = ()
    measured: Annotated[tuple[Measured, ...], msgspec.Meta(max_length=16 * MOST_SEGMENTS)] = ()
    samples: int = 0  # validation samples that `measured` rests on
    held: int = MOST_SEGMENTS  # the licence: a device may hold the first so many segments, no more
    unit_macs: int = 1_000_000  # multiply-accumulates in one unit of the bill
    scale: tuple[float, ...] = ()  # image: mean and standard deviation of the channels, of pixels from 0 to 1
    task: int = 0  # the lineage: the round whose model this is; 0: it comes from elsewhere
    round: int = 0

    def __post_init__(self) -> None:
        require(0 < len(self.name.encode()) <= 64, f"name {self.name!r}: 1 to 64 bytes")
        for left, right in pairwise(self.segments):
            require(left.given == right.taken, "a segment takes what the one before it gives")
        last = len(self.segments)
        places = [branch.after for branch in self.branches], [pair.after for pair in self.coders]
        for kind in places:
            require(
                kind == sorted(set(kind)) and all(0 < place < last for place in kind), "side branches stand at borders"
            )
        require(self.held >= 0 and self.unit_macs > 0, "held and unit_macs are counts")
        require(len(self.classes) in (0, math.prod(self.segments[-1].given)), "one name an output, or none")
        if self.kind == "image":
            sized = len(self.segments[0].taken) == 3 and self.segments[0].taken[0] == 3
            require(
                sized and len(self.scale) == 6, "an image model takes (3, height, width) and has six numbers of scale"
            )
        ways = [one.way for one in self.measured]
        require(ways == sorted(set(ways)), "each way of running the model was measured once, in order")

    @property
    def taken(self) -> tuple[int, ...]:
        """The shape of one sample as the first segment takes it."""
        return self.segments[0].taken

    @property
    def macs(self) -> int:
        return sum(segment.macs for segment in self.segments)

    def crossing(self, place: int) -> tuple[int, ...]:
        """The shape of what crosses behind the first `place` segments."""
        return self.segments[place - 1].given if place else self.taken

    def units(self, place: int) -> int:
        """The bill of one request whose first `place` segments ran on the device."""
        return -(-sum(segment.macs for segment in self.segments[place:]) // self.unit_macs)

    def files(self) -> tuple[File, ...]:
        """Every file that the model is made of."""
        pairs = [file for pair in self.coders for file in (pair.encoder, pair.decoder)]
        return (*(one.file for one in self.segments), *(branch.file for branch in self.branches), *pairs)

    def device_files(self, held: int = MOST_SEGMENTS) -> tuple[File, ...]:
        """What a device may hold that takes the first `held` segments, or as many as the licence allows: these, and the branches
        and encoders on their borders."""
        count = min(held, self.held, len(self.segments))
        branches = [branch.file for branch in self.branches if branch.after <= count]
        encoders = [pair.encoder for pair in self.coders if pair.after <= count]
        return (*(one.file for one in self.segments[:count]), *branches, *encoders)


def encode_model_manifest(manifest: ModelManifest) -> bytes:
    data = canonical.encode(manifest)
    require(len(data) <= MODEL_BYTES, f"a model's manifest of {len(data)} bytes, at most {MODEL_BYTES}")
    return data


def decode_model_manifest(data: bytes) -> ModelManifest:
    """The manifest in a stranger's bytes, or PeerFault."""
    if len(data) > MODEL_BYTES:
        raise PeerFault("too-large", f"a model's manifest of {len(data)} bytes, at most {MODEL_BYTES}")
    return canonical.decode(data, ModelManifest)


def root_of(manifest: ModelManifest) -> bytes:
    """What the ledger registers: SHA-256 of the manifest's bytes."""
    return hashlib.sha256(encode_model_manifest(manifest)).digest()


def require_file(data: bytes, file: File) -> bytes:
    """PeerFault("mismatch") unless these bytes are the file that the manifest names."""
    if len(data) != file.length or hashlib.sha256(data).digest() != file.digest:
        raise PeerFault("mismatch", f"a file of {len(data)} bytes is not {file.digest.hex()[:16]} of the manifest")
    return data
