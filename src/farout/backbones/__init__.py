"""Features of pretrained networks: any torch module, timm's and sentence-transformers' by name."""
