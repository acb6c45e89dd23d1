"""What a researcher can set when making the cards of a finished run."""

from engine.studies.base import StudyConfig, form_field


class Config(StudyConfig):
    """Cards for every feature of every SAE of one run."""

    of: str = form_field(
        "Run of sae_consistency whose features get cards; it must be done and read a language model.",
        group="Data",
        default=...,
        min_length=1,
    )
    max_tokens: int = form_field(
        "Training tokens read for the cards, from the first one on.",
        group="Data",
        default=1_000_000,
        unit="tokens",
        ge=1_000,
    )
    checks_tokens: int = form_field(
        "Held-out tokens on which the language model runs with the SAE spliced in; 0 leaves loss recovered out.",
        group="Checks",
        default=2_048,
        unit="tokens",
        ge=0,
    )
    probe_documents: int = form_field(
        "Labelled documents read for sparse probing; 0 leaves it out.",
        group="Checks",
        default=600,
        unit="documents",
        ge=0,
    )
