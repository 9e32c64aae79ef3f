"""Programs that measure Tallygate against a floor taken in the same run; `python -m bench` runs them."""
