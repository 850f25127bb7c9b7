"""The learned model that ships with Kindrail. Reading order: words, model, frozen; `training/` makes the weights."""
