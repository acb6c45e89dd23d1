"""The registry: one line per study."""

from engine.studies.base import Study
from engine.studies.concept_hierarchy import ConceptHierarchy
from engine.studies.counterfactual_text import CounterfactualText
from engine.studies.extrapolation import Extrapolation
from engine.studies.label_shift import LabelShift
from engine.studies.multimodal_causal import MultimodalCausal
from engine.studies.sae_consistency import SaeConsistency
from engine.studies.sapo import Sapo
from engine.studies.smartclip import SmartClip
from engine.studies.sr2 import Sr2
from engine.studies.srf import Srf

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        SaeConsistency(),
        MultimodalCausal(),
        ConceptHierarchy(),
        Sr2(),
        Sapo(),
        LabelShift(),
        Extrapolation(),
        CounterfactualText(),
        SmartClip(),
        Srf(),
    )
}
