"""How other tools save SAEs, one module a tool; `reading.read_checkpoint` picks the one a folder needs."""

DICTIONARY_LEARNING = "ae.pt"
SPARSIFY = "sae.safetensors"
SAE_LENS = "sae_weights.safetensors"
GEMMA_SCOPE = "params.npz"
GEMMA_SCOPE_2 = "params.safetensors"
LARGEST_FILE = 17_179_869_184
WEIGHT_FILES = (DICTIONARY_LEARNING, SPARSIFY, SAE_LENS, GEMMA_SCOPE, GEMMA_SCOPE_2)
