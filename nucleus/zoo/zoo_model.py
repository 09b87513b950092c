"""All that is known of a model: what `model.json` holds. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

FORMAT = "nucleus model 1"  # of model.json; another number if a reader of this one would go wrong
OVERALL = "overall"  # the kind of image that is all of them


@dataclass(frozen=True)
class Weights:
    """The weights file.

    Attributes:
        file: its name: beside model.json where the model ships, else at the end of the address.
        bytes: its size.
        sha256: of the file, hexadecimal.
        precision: in which the matrices and filters are stored.
        url: where it is fetched from (http or https); None where it ships.
    """

    file: str
    bytes: int
    sha256: str
    precision: str
    url: str | None = None


@dataclass(frozen=True)
class Threshold:
    """The lowest score of a detection that becomes a nucleus.

    Attributes:
        value: in [0, 1].
        data_set: on which it was chosen.
    """

    value: float
    data_set: str


@dataclass(frozen=True)
class Score:
    """A score, in [0, 1], with the ends of its interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Group:
    """The scores of one kind of image.

    Attributes:
        images: how many.
        nuclei: true ones in them.
        image_mean: mean over images, by name of the score; among them the seed protocol's.
        pooled: of all nuclei together, by name; COCO AP is always so.
        units: groups of images (fields of view) that the intervals are over; None where unknown.
    """

    images: int
    nuclei: int
    image_mean: dict[str, Score]
    pooled: dict[str, Score]
    units: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """The scores on one data set.

    Attributes:
        threshold: the score threshold they were taken with.
        interval: what the intervals are, in words; empty without any.
        groups: by kind of image, "overall" first.
    """

    threshold: float
    interval: str
    groups: dict[str, Group]


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
        command: that started it.
        config_sha256: of the whole config, as run.json has it.
        seed: of everything random in it.
        hardware: device, processes and threads.
        hours: that it ran, evaluations included.
        steps: of the optimizer.
        images: crops that it saw.
        data: sha256 of the COCO files, by name of the data set.
        versions: of what it ran with.
        commit: of the sources; None where unknown.
        modified: whether the sources differed from the commit.
    """

    command: str
    config_sha256: str
    seed: int
    hardware: str
    hours: float
    steps: int
    images: int
    data: dict[str, str | None]
    versions: dict[str, str | None]
    commit: str | None = None
    modified: bool | None = None


@dataclass(frozen=True)
class Speed:
    """How fast it predicts, from pixels to label image.

    Attributes:
        images_per_second: one after the other.
        side: pixels of the square images.
        hardware: processor or GPU, and threads.
        precision: that the backbone computed in.
    """

    images_per_second: float
    side: int
    hardware: str
    precision: str


@dataclass(frozen=True)
class Agreement:
    """How far the stored weights give what the trained ones, in float32, gave.

    Attributes:
        images: that both predicted.
        source: of the images.
        nuclei: found by the trained weights.
        object_f1: at IoU 0.9 between the two, pooled.
    """

    images: int
    source: str
    nuclei: int
    object_f1: float


@dataclass(frozen=True)
class Licence:
    """What one may do: of the weights, and of the data they were trained on."""

    weights: str
    data: str


@dataclass(frozen=True)
class ZooModel:
    """All that is known of a model; what model.json holds.

    Attributes:
        format: FORMAT.
        name: by which it is looked up: lower-case letters, digits, - and _.
        summary: what it is, in a line.
        weights: the file.
        parameters: numbers in the network.
        score_threshold: used unless another is given.
        licence: of weights and data.
        trained_on: data sets.
        training: the runs it comes from, in order.
        scores: by data set, the test set first.
        speed: measured when it was shipped; None where it was not.
        agreement: likewise.
    """

    format: str
    name: str
    summary: str
    weights: Weights
    parameters: int
    score_threshold: Threshold
    licence: Licence
    trained_on: tuple[str, ...]
    training: tuple[Run, ...]
    scores: dict[str, Evaluation]
    speed: Speed | None = None
    agreement: Agreement | None = None

    @property
    def tested_on(self) -> str:
        """The data set whose scores describe the model; empty without scores."""
        return next(iter(self.scores), "")
