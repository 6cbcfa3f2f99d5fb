"""The settings of a sequence model."""

from typing import Literal, Self

from pydantic import Field, model_validator

from recsys.config import Settings
from recsys.encoders.features import FeatureSettings


class SequenceSettings(Settings):
    """Settings of Sequence. Tune `dropout` and `epochs` first, then `learning_rate` and `longest_history`."""

    net: Literal["transformer", "masked", "hstu", "gru"] = Field(
        "transformer", description="architecture; masked: a transformer that learns to fill in masked events"
    )
    dim: int = Field(64, ge=2, description="width of the vectors")
    layers: int = Field(2, ge=1, description="blocks of the net, one above the other")
    heads: int = Field(2, ge=1, description="attention heads, of all nets but gru; dim must be a multiple")
    widened: int = Field(256, ge=1, description="transformer, masked: width of the feed-forward layer")
    longest_history: int = Field(200, ge=1, description="events that the net reads, the last of a history")
    older_history: int = Field(
        1000, ge=0, description="events before those, whose sum counts too, the later the more; 0 = none"
    )
    half_life: float = Field(
        0.0,
        ge=0,
        description="half-life, in events, of a decayed sum of the history that is added to the net's "
        "output, which then learns sooner; 0 = no sum",
    )
    epochs: int = Field(
        40, ge=1, description="passes over the events; the learning rate falls to 0 over them"
    )
    batch_size: int = Field(2048, ge=1, description="events a step")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's, at the start")
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="dropout; none = .5 to .1, the more events an item has the less",
    )
    similarity: Literal["cosine", "dot"] = Field(
        "dot", description="dot: the lengths of the vectors count; cosine: vectors of length 1"
    )
    temperature: float = Field(1.0, gt=0, description="divides the scores; 1 for dot, about .05 for cosine")
    negatives: int | None = Field(
        None,
        ge=0,
        description=(
            "sampled items in the loss; 0 = all items, exactly; none = all up to 50,000 (softmax), else 4,096"
        ),
    )
    loss: Literal["softmax", "gbce"] = Field(
        "softmax",
        description="softmax: cross-entropy over items; gbce: binary cross-entropy with sampled negatives, "
        "cheaper and worse",
    )
    calibration: float = Field(
        0.75,
        ge=0,
        le=1,
        description="gbce: how much of the overconfidence of sampling is undone; 0 = none, 1 = all",
    )
    item_features: tuple[FeatureSettings, ...] = Field(
        (), description="columns of the item table to learn from"
    )
    id_dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of items whose id is hidden in a step, where features can stand in",
    )
    event_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of events left out of a history in a step"
    )
    initial: Literal["spectral", "random"] = Field(
        "random",
        description=(
            "where the items start; spectral: by who had them, much better where items have few events"
        ),
    )
    ahead: int = Field(
        1,
        ge=1,
        description="predict an event drawn from the next so many; 1 = the next one; 5 to 50 where a list "
        "is for days rather than for the next click",
    )
    repeats: bool = Field(
        True,
        description="whether events with items had before are targets too; false is better where people "
        "come back to things and answers leave out what they had",
    )
    masked: float = Field(
        0.2, gt=0, lt=1, description="masked: share of the events that are masked in a step"
    )
    gaps: bool = Field(
        True, description="whether the net sees the time between events, where events have times"
    )
    unknown_now: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of these gaps hidden, so that it can answer without the time of asking",
    )
    event_types: bool = Field(
        True, description="whether the net sees the types of events, where there are several"
    )
    domains: bool = Field(
        True,
        description=(
            "whether the net sees the domains of items, 2 to 32, and adapts to the one that is asked for"
        ),
    )
    domain_rank: int = Field(
        8, ge=1, description="dimensions in which a person's vector is adapted to a domain"
    )
    domain_dropout: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="share of histories from which the events of a domain are left out in a step",
    )
    within_domain: bool = Field(
        True,
        description="whether the loss of a question about a domain compares with items of that domain only",
    )
    averaged: float = Field(
        0.34,
        ge=0,
        lt=1,
        description="the weights are averaged over this last share of the epochs",
    )
    precision: Literal["auto", "bf16", "float32"] = Field(
        "auto", description="number type of large matrix products; auto: bf16 where the processor has it"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where to learn; auto = a GPU where there is one"
    )

    @model_validator(mode="after")
    def _check_negatives(self) -> Self:
        if self.loss == "gbce" and self.negatives == 0:
            raise ValueError(
                "loss = gbce learns by drawn items: negatives = 0 leaves it none, take 256 or none"
            )
        return self

    @model_validator(mode="after")
    def _looks_back(self) -> Self:
        others = {"half_life": self.half_life == 0, "ahead": self.ahead == 1, "repeats": self.repeats}
        for name, plain in others.items() if self.net == "masked" else ():
            if not plain:
                raise ValueError(
                    f"{name} goes with nets that look back alone; net = masked fills gaps: leave it out"
                )
        return self

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.net != "gru" and self.dim % self.heads:
            raise ValueError(f"heads = {self.heads} must divide dim = {self.dim}")
        return self
