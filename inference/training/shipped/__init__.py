"""The models that come with the package: their data, recipe, cross-validation and card."""
