"""The claims of the paper and of its critics, and the rules that decide them here."""

from engine.studies.sae_consistency.claims.critics import CRITICS_CLAIMS
from engine.studies.sae_consistency.claims.language_model import LANGUAGE_MODEL_CLAIMS
from engine.studies.sae_consistency.claims.worlds import WORLD_CLAIMS

CLAIMS = (*WORLD_CLAIMS, *LANGUAGE_MODEL_CLAIMS, *CRITICS_CLAIMS)
