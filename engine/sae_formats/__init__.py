"""How other tools save SAEs, one module a tool; `reading.read_checkpoint` picks the one a folder needs."""

DICTIONARY_LEARNING = "ae.pt"
SPARSIFY = "sae.safetensors"
SAE_LENS = "sae_weights.safetensors"
GEMMA_SCOPE = "params.npz"
GEMMA_SCOPE_2 = "params.safetensors"
WEIGHT_FILES = (DICTIONARY_LEARNING, SPARSIFY, SAE_LENS, GEMMA_SCOPE, GEMMA_SCOPE_2)
