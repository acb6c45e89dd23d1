"""Sources of multimodal data with a known latent causal graph (arXiv 2411.06518)."""
