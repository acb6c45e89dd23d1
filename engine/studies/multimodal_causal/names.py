"""Methods as the tables name them."""

OURS, STAGE_ONE, NO_SPARSITY, TRUTH, PC = "two stages", "stage 1 alone", "no sparsity", "truth", "pc"
BETA_VAE, CONTRASTIVE = "beta-VAE", "contrastive"
