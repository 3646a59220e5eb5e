"""The recipe of the small bundled model: data, training, export, evaluation. Not part of the wheel."""
