"""The registry: one line per study, one per tool."""

from engine.studies.base import Study
from engine.studies.sae_consistency import SaeConsistency
from engine.tools.feature_cards import FeatureCards
from engine.tools.feature_map import FeatureMap

STUDIES: dict[str, Study] = {study.name: study for study in (SaeConsistency(),)}
TOOLS: dict[str, Study] = {tool.name: tool for tool in (FeatureCards(), FeatureMap())}
JOBS = {**STUDIES, **TOOLS}
