"""Jobs on finished runs, one line per tool, and every job there is by name."""

from engine.studies import STUDIES
from engine.studies.base import Study
from engine.tools.feature_cards import FeatureCards
from engine.tools.feature_map import FeatureMap
from engine.tools.triplet_map import TripletMap

TOOLS: dict[str, Study] = {tool.name: tool for tool in (FeatureCards(), FeatureMap(), TripletMap())}
JOBS = {**STUDIES, **TOOLS}
