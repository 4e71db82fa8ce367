"""How good the shipped models are: held-out images, rivals, heat maps, cards."""
