"""The baseline that needs no model: words of the VADER lexicon replaced by their nearest opposites in the vocabulary."""

from collections.abc import Mapping, Sequence

from data.domain_texts import Tokens, valences

STRONG = 1.0


class LexiconFlip:
    """Every word with a valence of one or more against the target is replaced by the frequent word nearest to minus its valence."""

    def __init__(self, words: Sequence[str], lexicon: Mapping[str, float] | None = None) -> None:
        """`words`: the vocabulary, most frequent first. Raises AssetMissing."""
        known = valences() if lexicon is None else lexicon
        self.valences = {word: known[word] for word in words if abs(known.get(word, 0.0)) >= STRONG}
        self.ranks = {word: rank for rank, word in enumerate(words)}

    def __call__(self, text: Tokens, target: int) -> Tokens:
        """The text with its words turned to the target: 1 positive, 0 negative."""
        sign = 1 if target else -1
        return tuple(self._turned(word, sign) for word in text)

    def _turned(self, word: str, sign: int) -> str:
        value = self.valences.get(word, 0.0) * sign
        if value >= 0:
            return word
        others = (other for other, valence in self.valences.items() if valence * sign > 0)
        nearest = min(
            others,
            key=lambda other: (abs(self.valences[other] * sign + value), self.ranks[other]),
            default=word,
        )
        return nearest
